// The agent serves before the image's systemd has prepared /tmp. What systemd would do there at boot is done now, so that it
// does not take away what commands have put there meanwhile.
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

#define CONF "tmpfiles.d/tmp.conf"

static bool is_tmpfs_wanted(void) {
  static const char *const links[] = {
      "/etc/systemd/system/local-fs.target.wants/tmp.mount", "/usr/lib/systemd/system/local-fs.target.wants/tmp.mount",
      "/lib/systemd/system/local-fs.target.wants/tmp.mount"};
  struct stat st;
  // A link to /dev/null masks it.
  if (lstat("/etc/systemd/system/tmp.mount", &st) == 0 && S_ISLNK(st.st_mode)) return false;
  for (size_t i = 0; i < COUNT_OF(links); i++)
    if (lstat(links[i], &st) == 0) return true;
  return false;
}

static int remove_below(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st;
  (void)kind;
  if (at->level > 0 && remove(path) < 0) say("cannot clear %s: %s", path, strerror(errno));
  return 0;
}

// The line `D /tmp ...` (tmpfiles.d(5): made, and emptied at boot), with or without the mark of boot-only lines.
static char *find_clearing_line(char *text) {
  for (char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
    const char *rest = line[0] == 'D' ? line + 1 : "";
    if (*rest == '!') rest++;
    rest += strspn(rest, " \t");
    if (line[0] == 'D' && strncmp(rest, "/tmp", 4) == 0 && strchr(" \t\n", rest[4])) return line;
  }
  return NULL;
}

void prepare_tmp(void) {
  if (is_tmpfs_wanted()) {
    if (make_dirs("/tmp") && mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=50%,nr_inodes=1m") < 0)
      say("/tmp: %s", strerror(errno));
    return;
  }
  // The administrator's own file wins over ours in /run, so there is nothing to do about it.
  if (access("/etc/" CONF, F_OK) == 0) return;
  size_t length;
  char *text = read_file("/usr/lib/" CONF, 1 << 16, &length);
  char *line = text ? find_clearing_line(text) : NULL;
  if (line) {
    line[0] = 'd';
    if (make_parent_dirs("/run/" CONF) && write_file("/run/" CONF, 0644, text, length)) nftw("/tmp", remove_below, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
  }
  free(text);
}
