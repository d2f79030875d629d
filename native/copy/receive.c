#define _GNU_SOURCE
#include "receive.h"
#include "report.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[COPY_PATH];

static const char *undo(void) {
  static char text[96];
  copy_land_abandon();
  copy_place_undo();
  uint64_t n = copy_place_counted();
  if (n == 0) return "nothing was put in place";
  snprintf(text, sizeof text, "%llu %s put in place", (unsigned long long)n, n == 1 ? "entry was" : "entries were");
  return text;
}

static void take_directory(const struct tar_entry *entry) {
  struct copy_level *level = copy_place_enter(path, strlen(path), entry->name);
  if (!level || (!path[0] && !copy_destination_owns_root())) return;
  if (level->made && !level->given) copy_place_count();
  copy_set_directory_now(level, entry);
}

static void take_other(const struct tar_entry *entry, uint64_t *left) {
  char *slash = strrchr(path, '/');
  const char *file = slash ? slash + 1 : path;
  if (!file[0]) {
    copy_problem("%s is left out: it has no name", entry->name);
    return;
  }
  struct copy_level *at = copy_place_enter(path, slash ? (size_t)(slash - path) : 0, entry->name);
  if (at) copy_make(at, file, entry, left);
}

static void take(const struct tar_entry *entry) {
  uint64_t left = entry->stored;
  copy_progress_entry(entry->name);
  copy_destination_check(entry);
  if (!copy_destination_map(entry->name, path)) copy_fail("the stream has more than one top entry, and the destination is no directory to put them into");
  if (entry->type == TAR_DIRECTORY) take_directory(entry);
  else take_other(entry, &left);
  if (!copy_in_skip(left + tar_padding(entry->stored))) tar_ended_early();
}

static void sync_file_system(int root) {
  int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || syncfs(fd) < 0) copy_problem("cannot sync the file system: %s", strerror(errno));
  if (fd >= 0) close(fd);
}

int copy_receive(const struct copy_receive_options *options) {
  static struct tar_entry entry;
  copy_on_fail(undo);
  int root = copy_destination_open(options);
  umask(0);
  copy_attributes_open(options);
  copy_make_open(options);
  copy_place_open(root);
  copy_in_open();
  while (tar_read(&entry)) take(&entry);
  if (copy_in_signal()) tar_ended_early();
  const char *made = copy_destination_made();
  if (made) copy_place_enter(made, strlen(made), made);
  copy_place_close();
  copy_land_held();
  if (options->sync) sync_file_system(root);
  copy_in_drain();
  copy_progress_end(copy_in_bytes());
  return copy_result();
}
