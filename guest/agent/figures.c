// `agent stat`: what the kernel says of this guest's load, as sections `<name> <byte count>\n<bytes>\n`. The host makes numbers of it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "programs.h"
#include "util.h"

// Of a file; /proc/stat has a line as long as there are interrupts.
#define FILE_BYTES (256 << 10)
#define SECTION_BYTES (16 << 10)

static const char *proc = "/proc", *sys = "/sys";
static char text[FILE_BYTES + 1], kept[SECTION_BYTES + 1];

// Whole lines of the file's beginning in `text`.
static bool load(const char *name) {
  char path[PATH_MAX];
  size_t have = 0;
  ssize_t n = 1;
  snprintf(path, sizeof path, "%s/%s", proc, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  while (fd >= 0 && have < FILE_BYTES && (n = read(fd, text + have, FILE_BYTES - have)) > 0) have += (size_t)n;
  close_fd(&fd);
  text[have] = 0;
  if (n < 0 || have == 0) return false;
  char *end = strrchr(text, '\n');
  if (end) end[1] = 0;
  return true;
}

static void section(const char *name) { printf("%s %zu\n%s\n", name, strlen(kept), kept); }

static bool is_wanted_count(const char *line) { return strncmp(line, "cpu ", 4) == 0 || strncmp(line, "btime ", 6) == 0; }

// Of hardware: bridges and pairs of containers would count everything again, and there may be thousands of them.
static bool is_hardware(const char *line) {
  char path[PATH_MAX];
  line += strspn(line, " ");
  size_t length = strcspn(line, ":");
  if (length == 0 || length >= IFNAMSIZ || memchr(line, '/', length)) return false;
  snprintf(path, sizeof path, "%s/class/net/%.*s/device", sys, (int)length, line);
  return access(path, F_OK) == 0;
}

// The lines of a file that are wanted (all: NULL), as far as a section goes.
static void lines(const char *file, const char *name, bool (*wanted)(const char *line)) {
  size_t length = 0;
  char *rest = text, *line;
  if (!load(file)) return;
  while ((line = strsep(&rest, "\n"))) {
    size_t n = strlen(line);
    if (n == 0 || (wanted && !wanted(line))) continue;
    if (length + n + 1 > SECTION_BYTES) break;
    memcpy(kept + length, line, n);
    kept[length + n] = '\n';
    length += n + 1;
  }
  kept[length] = 0;
  section(name);
}

static void file_system(const char *path) {
  struct statvfs is;
  char name[64];
  if (statvfs(path, &is) < 0) return;
  snprintf(kept, sizeof kept, "%lu %llu %llu %llu %llu %llu\n", is.f_frsize, (unsigned long long)is.f_blocks, (unsigned long long)is.f_bfree,
      (unsigned long long)is.f_bavail, (unsigned long long)is.f_files, (unsigned long long)is.f_ffree);
  snprintf(name, sizeof name, "fs:%s", path);
  section(name);
}

int figures_main(int argc, char **argv) {
  struct stat root, home;
  // Other directories in place of these are for tests.
  if (argc == 3) {
    proc = argv[1];
    sys = argv[2];
  } else if (argc != 1) {
    fprintf(stderr, "usage: agent stat\n");
    return 2;
  }
  lines("stat", "stat", is_wanted_count);
  lines("meminfo", "meminfo", NULL);
  lines("loadavg", "loadavg", NULL);
  lines("uptime", "uptime", NULL);
  lines("net/dev", "netdev", is_hardware);
  file_system("/");
  // A work disk of its own, or the same one again.
  if (stat("/", &root) == 0 && stat("/root", &home) == 0 && root.st_dev != home.st_dev) file_system("/root");
  return fflush(stdout) == 0 ? 0 : 1;
}
