// Makes what is no directory: files with their contents, links, nodes.
#define _GNU_SOURCE
#include "receive.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool devices;

void copy_make_open(const struct copy_receive_options *options) { devices = options->devices && geteuid() == 0; }

void copy_give_up_on(int error, const char *name) {
  if (error == ENOSPC || error == EDQUOT || error == EROFS || error == EIO) copy_fail("cannot write %s: %s", name, strerror(error));
}

static void tell_failed(const struct copy_level *at, const struct tar_entry *entry, const char *what) {
  int error = errno;
  copy_land_abandon();
  copy_give_up_on(error, entry->name);
  if (copy_destination_holds() && copy_place_is_root(at)) copy_fail("cannot make %s: %s", entry->name, strerror(error));
  copy_problem("cannot %s %s: %s", what, entry->name, error == EISDIR ? "a directory is in the way" : strerror(error));
}

static void land(const struct copy_level *at, const struct tar_entry *entry) {
  if (!copy_land(copy_destination_holds() && copy_place_is_root(at))) tell_failed(at, entry, "put in place");
}

struct making {
  const struct tar_entry *entry;
  mode_t mode;
  // Of a hard link's target.
  int directory;
  const char *file;
};

static int open_file(int directory, const char *name, const void *with) {
  const struct making *making = with;
  return openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, making->mode);
}

static void make_file(struct copy_level *at, const char *file, const struct tar_entry *entry, uint64_t *left) {
  struct making making = {.entry = entry, .mode = copy_first_mode(at, entry)};
  int fd = copy_land_begin(at, file, open_file, &making);
  if (fd < 0) {
    tell_failed(at, entry, "make");
    return;
  }
  bool good = copy_contents(fd, entry, left);
  if (good) copy_set_file(fd, at, entry);
  int error = errno;
  // Some file systems tell of a full disk only now.
  if (close(fd) < 0 && good) {
    good = false;
    error = errno;
  }
  errno = error;
  if (good) land(at, entry);
  else tell_failed(at, entry, "write");
}

static int make_special(int directory, const char *name, const void *with) {
  const struct tar_entry *entry = ((const struct making *)with)->entry;
  mode_t mode = (mode_t)entry->mode & 0777;
  if (entry->type == TAR_SYMLINK) return symlinkat(entry->link, directory, name);
  if (entry->type == TAR_FIFO) return mknodat(directory, name, S_IFIFO | mode, 0);
  return mknodat(directory, name, (entry->type == TAR_CHAR ? S_IFCHR : S_IFBLK) | mode, makedev(entry->major, entry->minor));
}

static void make_node(struct copy_level *at, const char *file, const struct tar_entry *entry) {
  struct making making = {.entry = entry};
  if ((entry->type == TAR_CHAR || entry->type == TAR_BLOCK) && !devices) {
    copy_problem("%s is a device and is left out", entry->name);
    return;
  }
  if (copy_land_begin(at, file, make_special, &making) < 0) {
    tell_failed(at, entry, "make");
    return;
  }
  copy_set_special(at, copy_land_name(), entry);
  land(at, entry);
}

static int make_link(int directory, const char *name, const void *with) {
  const struct making *making = with;
  return linkat(making->directory, making->file, directory, name, 0);
}

static void make_hard(struct copy_level *at, const char *file, const struct tar_entry *entry) {
  static char path[COPY_PATH];
  if (!copy_destination_map(entry->link, path) || !path[0]) {
    copy_problem("%s is left out: it is a link to %s, which is not in the stream", entry->name, entry->link);
    return;
  }
  char *slash = strrchr(path, '/');
  struct making making = {.entry = entry, .file = slash ? slash + 1 : path};
  making.directory = copy_place_find(path, slash ? (size_t)(slash - path) : 0);
  bool made = making.directory >= 0 && copy_land_begin(at, file, make_link, &making) >= 0;
  int error = errno;
  if (making.directory >= 0) close(making.directory);
  if (!made) {
    copy_problem("cannot link %s to %s: %s", entry->name, entry->link, strerror(error));
    return;
  }
  copy_land_is_link();
  land(at, entry);
}

void copy_make(struct copy_level *at, const char *file, const struct tar_entry *entry, uint64_t *left) {
  if (entry->type == TAR_FILE) make_file(at, file, entry, left);
  else if (entry->type == TAR_HARD) make_hard(at, file, entry);
  else if (entry->type == TAR_OTHER) copy_problem("%s is left out: it is of the unknown type \"%c\"", entry->name, entry->flag);
  else make_node(at, file, entry);
}
