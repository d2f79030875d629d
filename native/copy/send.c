#define _GNU_SOURCE
#include "directory.h"
#include "send.h"
#include "report.h"
#include "stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// Directories deeper than this are closed while one of their own is read, and found again by `..`.
#define KEPT_OPEN 128

struct level {
  int fd;
  dev_t device;
  ino_t inode;
  size_t name_length;
  // Entries as getdents64 gives them, and where the next ones are.
  char *buffer;
  size_t room, at, end;
  off_t next;
};

static struct level *levels;
static size_t depth, level_room;
// The entry's name in the stream, and how much of it stands for PATH.
static char name[TAR_NAME + 1];
static size_t name_length, base_length;
static const char *path;
static struct stat output;
static struct tar_entry entry;

// What the person calls it. A static buffer.
static const char *shown(void) {
  static char text[2 * PATH_MAX + 2];
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  if (length == 1 && path[0] == '/' && name[base_length]) length = 0;
  snprintf(text, sizeof text, "%.*s%s", (int)length, path, name + base_length);
  return text;
}

static void push(int fd, const struct stat *directory) {
  if (depth == level_room) {
    level_room = level_room ? level_room * 2 : 32;
    levels = realloc(levels, level_room * sizeof *levels);
    if (!levels) copy_fail("out of memory");
    memset(levels + depth, 0, (level_room - depth) * sizeof *levels);
  }
  if (depth > KEPT_OPEN) {
    close(levels[depth - 1].fd);
    levels[depth - 1].fd = -1;
  }
  struct level *level = &levels[depth++];
  if (!level->buffer) {
    level->room = depth < 32 ? 32768 : 4096;
    level->buffer = malloc(level->room);
    if (!level->buffer) copy_fail("out of memory");
  }
  level->fd = fd;
  level->device = directory->st_dev;
  level->inode = directory->st_ino;
  level->name_length = name_length;
  level->at = level->end = 0;
  level->next = 0;
}

static void pop(void) {
  struct level *done = &levels[--depth];
  if (depth > 0 && levels[depth - 1].fd < 0) {
    struct level *up = &levels[depth - 1];
    struct stat file;
    up->fd = openat(done->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool same = up->fd >= 0 && fstat(up->fd, &file) == 0 && file.st_dev == up->device && file.st_ino == up->inode;
    // The directory was moved: nobody knows what `..` is now.
    if (!same || lseek(up->fd, up->next, SEEK_SET) < 0) copy_fail("%s was moved while it was read", shown());
  }
  close(done->fd);
  if (depth > 0) {
    name_length = levels[depth - 1].name_length;
    name[name_length] = 0;
  }
}

// The next entry of the innermost directory, or NULL at its end.
static struct copy_record *next_record(struct level *level) {
  if (level->at == level->end) {
    long n = syscall(SYS_getdents64, level->fd, level->buffer, level->room);
    if (n < 0) copy_problem("cannot read all of %s: %s", shown(), strerror(errno));
    if (n <= 0) return NULL;
    level->at = 0;
    level->end = (size_t)n;
  }
  struct copy_record *record = copy_record_at(level->buffer + level->at);
  level->at += record->length;
  level->next = record->next;
  return record;
}

// What attributes of something that is not open are read by.
static const char *attribute_path(int directory, const char *file) {
  static char text[PATH_MAX + 64];
  if (directory == AT_FDCWD) return file;
  snprintf(text, sizeof text, "/proc/self/fd/%d/%s", directory, file);
  return text;
}

static void describe(const struct stat *file) {
  memcpy(entry.name, name, name_length + 1);
  entry.mode = file->st_mode & 07777;
  entry.uid = file->st_uid;
  entry.gid = file->st_gid;
  entry.mtime = file->st_mtim;
  entry.size = entry.stored = 0;
  entry.sparse = false;
  entry.attribute_count = 0;
  entry.link[0] = 0;
}

// True: it is a further name of something that was sent.
static bool sent_as_link(const struct stat *file) {
  const char *first = S_ISDIR(file->st_mode) ? NULL : copy_links_find(file);
  if (!first) return false;
  strcpy(entry.link, first);
  entry.type = TAR_HARD;
  tar_write(&entry);
  return true;
}

static bool take_link(int directory, const char *file) {
  ssize_t length = readlinkat(directory, file, entry.link, sizeof entry.link);
  if (length < 0) copy_problem("cannot read the link %s: %s", shown(), strerror(errno));
  else if (length > TAR_NAME) copy_problem("%s is left out: it points to more than %d bytes", shown(), TAR_NAME);
  if (length < 0 || length > TAR_NAME) return false;
  entry.link[length] = 0;
  return true;
}

static void send_special(int directory, const char *file, const struct stat *is) {
  if (S_ISSOCK(is->st_mode)) {
    copy_note("%s is a socket and is left out", shown());
    return;
  }
  if (sent_as_link(is)) return;
  if (S_ISLNK(is->st_mode)) {
    if (!take_link(directory, file)) return;
    entry.type = TAR_SYMLINK;
  } else {
    entry.type = S_ISFIFO(is->st_mode) ? TAR_FIFO : S_ISCHR(is->st_mode) ? TAR_CHAR : TAR_BLOCK;
    entry.major = major(is->st_rdev);
    entry.minor = minor(is->st_rdev);
  }
  // Only root can have set, or see, an attribute of these; ACLs of fifos are not worth a call per file of everybody.
  if (geteuid() == 0) copy_send_attributes(-1, attribute_path(directory, file), shown(), &entry);
  tar_write(&entry);
  copy_links_add(is, name);
}

static void send_regular(int fd, const struct stat *is) {
  if (is->st_dev == output.st_dev && is->st_ino == output.st_ino && S_ISREG(output.st_mode)) {
    copy_note("%s is what is being written and is left out", shown());
    return;
  }
  if (sent_as_link(is)) return;
  entry.type = TAR_FILE;
  copy_send_attributes(fd, NULL, shown(), &entry);
  copy_send_file(fd, is, &entry, shown());
  copy_links_add(is, name);
}

// Its entry, and its own ones to come if it could be opened.
static void send_directory(int fd, const struct stat *is) {
  if (name_length + 1 >= TAR_NAME) {
    copy_problem("%s is left out: its name has more than %d bytes", shown(), TAR_NAME);
    if (fd >= 0) close(fd);
    return;
  }
  entry.type = TAR_DIRECTORY;
  memcpy(entry.name + name_length, "/", 2);
  if (fd >= 0) copy_send_attributes(fd, NULL, shown(), &entry);
  tar_write(&entry);
  if (fd >= 0) push(fd, is);
}

static int open_to_read(int directory, const char *file) {
  return openat(directory, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

// What the directory says of the type saves a call; what is opened says the truth.
static void send_one(int directory, const char *file, unsigned char hint) {
  struct stat is;
  copy_progress_entry(name);
  int fd = hint == DT_REG || hint == DT_DIR ? open_to_read(directory, file) : -1;
  int error = errno;
  if (fd < 0 && fstatat(directory, file, &is, AT_SYMLINK_NOFOLLOW) < 0) {
    copy_problem("cannot read %s: %s", shown(), strerror(errno));
    return;
  }
  if (fd < 0 && hint != DT_REG && hint != DT_DIR && (S_ISREG(is.st_mode) || S_ISDIR(is.st_mode))) {
    fd = open_to_read(directory, file);
    error = errno;
  }
  if (fd >= 0 && fstat(fd, &is) < 0) copy_fail("cannot read %s: %s", shown(), strerror(errno));
  describe(&is);
  if (fd < 0 && (S_ISREG(is.st_mode) || S_ISDIR(is.st_mode))) copy_problem("cannot read %s: %s", shown(), strerror(error));
  if (S_ISDIR(is.st_mode)) {
    send_directory(fd, &is);
    return;
  }
  if (!S_ISREG(is.st_mode)) send_special(directory, file, &is);
  else if (fd >= 0) send_regular(fd, &is);
  if (fd >= 0) close(fd);
}

static void send_child(struct level *level, const struct copy_record *record) {
  size_t length = strlen(record->name);
  if (record->name[0] == '.' && (length == 1 || (length == 2 && record->name[1] == '.'))) return;
  if (level->name_length + 1 + length > TAR_NAME) {
    copy_problem("%s/%s is left out: its name has more than %d bytes", shown(), record->name, TAR_NAME);
    return;
  }
  name[level->name_length] = '/';
  memcpy(name + level->name_length + 1, record->name, length + 1);
  name_length = level->name_length + 1 + length;
  size_t before = depth;
  send_one(level->fd, record->name, record->type);
  if (depth != before) return;
  name_length = level->name_length;
  name[name_length] = 0;
}

// The directory's last name, of its real path where PATH does not end with one; empty for `/`.
static const char *last_name_of(const char *of) {
  static char real[PATH_MAX];
  static char last[NAME_MAX + 1];
  for (int i = 0; i < 2; i++) {
    size_t end = strlen(of), start;
    while (end > 0 && of[end - 1] == '/') end--;
    for (start = end; start > 0 && of[start - 1] != '/';) start--;
    if (end - start > NAME_MAX) break;
    memcpy(last, of + start, end - start);
    last[end - start] = 0;
    if (i == 1 || (last[0] && strcmp(last, ".") != 0 && strcmp(last, "..") != 0)) return last;
    if (!realpath(of, real)) break;
    of = real;
  }
  copy_fail("cannot read %s: %s", of, strerror(errno));
}

// With a slash at its end a symlink is followed.
static const char *path_to_open(const struct copy_send_options *options, const char *of) {
  static char text[PATH_MAX + 2];
  if (!options->contents) return of;
  if (strlen(of) >= PATH_MAX) copy_fail("cannot read %s: %s", of, strerror(ENAMETOOLONG));
  snprintf(text, sizeof text, "%s/", of);
  return text;
}

static void send_path(const struct copy_send_options *options) {
  const char *base = options->contents ? "." : options->base ? options->base : last_name_of(path);
  if (!base[0]) base = ".";
  name_length = base_length = strlen(base);
  memcpy(name, base, base_length + 1);
  send_one(AT_FDCWD, path_to_open(options, path), DT_UNKNOWN);
  while (depth > 0) {
    struct level *level = &levels[depth - 1];
    struct copy_record *record = next_record(level);
    if (record) send_child(level, record);
    else pop();
  }
}

int copy_send(const struct copy_send_options *options) {
  struct stat file;
  if (fstat(1, &output) < 0) copy_fail("cannot write the stream: %s", strerror(errno));
  if (options->list) copy_list_open(options);
  for (int i = 0; i < options->path_count && !options->list; i++)
    if (fstatat(AT_FDCWD, path_to_open(options, options->paths[i]), &file, AT_SYMLINK_NOFOLLOW) < 0) copy_fail("cannot read %s: %s", options->paths[i], strerror(errno));
  copy_out_open();
  if (options->list) copy_list_send();
  for (int i = 0; i < options->path_count && !options->list; i++) {
    path = options->paths[i];
    send_path(options);
  }
  tar_write_end();
  copy_out_flush();
  copy_progress_end(copy_out_bytes());
  copy_out_settle();
  return copy_result();
}
