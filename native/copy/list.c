// `copy send --list`: the entries that a list names, below directories, in the order of the list.
#define _GNU_SOURCE
#include "report.h"
#include "send.h"
#include "stream.h"
#include "walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// With `./` before it and a slash behind it, it is a name of an entry.
#define PATH (TAR_NAME - 3)

struct record {
  size_t base;
  const char *path;
  size_t length;
};

static FILE *list;
static int *bases;
static size_t base_count;
static struct tar_entry entry;

// Paths of the directories whose entries were sent, by hash; a power of two.
static char **sent;
static size_t sent_room, sent_count;

static char **place_of(const char *path, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)path[i]) * 0x100000001b3u;
  for (size_t i = (size_t)(hash ^ hash >> 32) & (sent_room - 1);; i = (i + 1) & (sent_room - 1))
    if (!sent[i] || (strncmp(sent[i], path, length) == 0 && !sent[i][length])) return &sent[i];
}

static void grow_sent(void) {
  char **old = sent;
  size_t old_room = sent_room;
  sent_room = old_room ? old_room * 2 : 1024;
  sent = calloc(sent_room, sizeof *sent);
  if (!sent) copy_fail("out of memory");
  for (size_t i = 0; i < old_room; i++)
    if (old[i]) *place_of(old[i], strlen(old[i])) = old[i];
  free(old);
}

// False: its entry was sent before.
static bool mark_sent(const char *path, size_t length) {
  if (sent_count * 2 >= sent_room) grow_sent();
  char **place = place_of(path, length);
  if (*place) return false;
  *place = strndup(path, length);
  if (!*place) copy_fail("out of memory");
  sent_count++;
  return true;
}

static void describe(const char *path, size_t length, const struct stat *is, enum tar_type type) {
  snprintf(entry.name, sizeof entry.name, "./%.*s%s", (int)length, path, type == TAR_DIRECTORY ? "/" : "");
  entry.type = type;
  entry.mode = is->st_mode & 0777;
  entry.uid = is->st_uid;
  entry.gid = is->st_gid;
  entry.mtime = is->st_mtim;
  entry.size = entry.stored = 0;
  entry.sparse = false;
  entry.link[0] = 0;
  copy_progress_entry(entry.name);
}

static void send_directory(const char *path, size_t length, const struct stat *is) {
  if (!mark_sent(path, length)) return;
  describe(path, length, is, TAR_DIRECTORY);
  tar_write(&entry);
}

static void entered(int fd, const char *path, size_t length) {
  struct stat is;
  if (fstat(fd, &is) < 0) copy_fail("cannot read %.*s: %s", (int)length, path, strerror(errno));
  send_directory(path, length, &is);
}

// Opens the directory, and sends those on the way to it that were not; -1 with errno.
static int enter(size_t base, const char *to, size_t length) {
  static const struct copy_walk walk = {.entered = entered};
  static size_t current = SIZE_MAX;
  if (current != base) copy_walk_begin(bases[base], &walk);
  current = base;
  return copy_walk_to(to, length);
}

static void send_link(int directory, const char *name, const struct record *record, const struct stat *is) {
  describe(record->path, record->length, is, TAR_SYMLINK);
  ssize_t length = readlinkat(directory, name, entry.link, sizeof entry.link);
  if (length < 0) copy_problem("cannot read the link %s: %s", record->path, strerror(errno));
  else if (length > TAR_NAME) copy_problem("%s is left out: it points to more than %d bytes", record->path, TAR_NAME);
  if (length < 0 || length > TAR_NAME) return;
  entry.link[length] = 0;
  tar_write(&entry);
}

static void send_opened(int fd, const struct record *record) {
  struct stat is;
  if (fstat(fd, &is) < 0) copy_fail("cannot read %s: %s", record->path, strerror(errno));
  if (S_ISDIR(is.st_mode)) {
    send_directory(record->path, record->length, &is);
  } else if (S_ISREG(is.st_mode)) {
    describe(record->path, record->length, &is, TAR_FILE);
    copy_send_file(fd, &is, &entry, record->path);
  } else {
    copy_problem("%s is left out: it is no file, link or directory", record->path);
  }
}

// Most are files, so each is opened before it is looked at.
static void send_record(const struct record *record) {
  char name[NAME_MAX + 1];
  struct stat is;
  const char *slash = strrchr(record->path, '/');
  size_t parent = slash ? (size_t)(slash - record->path) : 0;
  int directory = enter(record->base, record->path, parent);
  bool good = directory >= 0 && copy_walk_name(record->path, parent, record->length, name);
  int fd = good ? openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
  int error = errno;
  if (fd >= 0) {
    send_opened(fd, record);
    close(fd);
  } else if (good && fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && (S_ISLNK(is.st_mode) || S_ISDIR(is.st_mode))) {
    // A directory of which nothing else is wanted may be one that nobody may read.
    if (S_ISLNK(is.st_mode)) send_link(directory, name, record, &is);
    else send_directory(record->path, record->length, &is);
  } else {
    copy_problem("cannot read %s: %s", record->path, strerror(error));
  }
}

// False at the end of the list. What is no record ends the program.
static bool next_record(struct record *record) {
  static char *line;
  static size_t room;
  uint64_t base;
  ssize_t length = getdelim(&line, &room, 0, list);
  if (length < 0 && ferror(list)) copy_fail("cannot read the list: %s", strerror(errno));
  if (length < 0) return false;
  char *slash = strchr(line, '/');
  bool good = line[length - 1] == 0 && slash && tar_decimal(line, (size_t)(slash - line), &base) && base < base_count && copy_walk_is_path(slash + 1);
  if (!good || strlen(slash + 1) > PATH) copy_fail("the list has something else than <n>/<path>: %.200s", line);
  *record = (struct record){.base = (size_t)base, .path = slash + 1, .length = strlen(slash + 1)};
  return true;
}

void copy_list_open(const struct copy_send_options *options) {
  struct record record;
  base_count = (size_t)options->path_count;
  bases = calloc(base_count, sizeof *bases);
  if (!bases) copy_fail("out of memory");
  for (size_t i = 0; i < base_count; i++) {
    bases[i] = open(options->paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (bases[i] < 0) copy_fail("cannot read %s: %s", options->paths[i], strerror(errno));
  }
  list = fopen(options->list, "re");
  if (!list) copy_fail("cannot read %s: %s", options->list, strerror(errno));
  // All of it is looked at before the first byte is sent.
  while (next_record(&record)) continue;
  if (fseek(list, 0, SEEK_SET) < 0) copy_fail("cannot read the list twice: %s", strerror(errno));
}

void copy_list_send(void) {
  struct record record;
  while (next_record(&record)) send_record(&record);
}
