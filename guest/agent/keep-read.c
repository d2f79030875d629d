// Prints what was kept of a command's output, and follows it to its end.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keep.h"
#include "util.h"

// How long a change may stay unnoticed where nothing tells of it (the death of a keeper), and where there is no inotify.
#define WATCH_MS 1000
#define BLIND_MS 100

struct reader {
  int dir, fd, watch;
  // The first piece that has not been looked at.
  uint32_t from;
  off_t at;
  uint8_t data[KEEP_CHUNK];
};

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
  char text[160] = "banger: ";
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text + 8, sizeof text - 9, format, args);
  va_end(args);
  strcat(text, "\n");
  if (n > 0) write_all(2, text, strlen(text));
}

// The smallest number of a piece that is at least `from`.
static bool find_piece(int dir, uint32_t from, uint32_t *number) {
  bool found = false;
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *files = fd >= 0 ? fdopendir(fd) : NULL;
  if (!files) {
    close_fd(&fd);
    return false;
  }
  for (struct dirent *file; (file = readdir(files));) {
    if (strncmp(file->d_name, "out.", 4) != 0 || file->d_name[4] < '0' || file->d_name[4] > '9') continue;
    unsigned long n = strtoul(file->d_name + 4, NULL, 10);
    if (n < from || n >= UINT32_MAX || (found && n >= *number)) continue;
    *number = (uint32_t)n;
    found = true;
  }
  closedir(files);
  return found;
}

static bool open_piece(struct reader *r, uint32_t number) {
  char name[24];
  struct stat st;
  snprintf(name, sizeof name, "out.%u", (unsigned)number);
  close_fd(&r->fd);
  r->fd = openat(r->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (r->fd >= 0 && (fstat(r->fd, &st) < 0 || !S_ISREG(st.st_mode))) close_fd(&r->fd);
  r->at = 0;
  return r->fd >= 0;
}

// 1: printed a record; 0: there is no whole one yet; -1: damaged, or nobody reads us.
static int print_record(struct reader *r) {
  uint8_t head[KEEP_RECORD];
  if (pread(r->fd, head, sizeof head, r->at) != (ssize_t)sizeof head) return 0;
  uint32_t length = (uint32_t)head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 24;
  if (head[0] > 1 || length == 0 || length > sizeof r->data) {
    note("the kept output is damaged");
    return -1;
  }
  if (pread(r->fd, r->data, length, r->at + KEEP_RECORD) != (ssize_t)length) return 0;
  r->at += KEEP_RECORD + (off_t)length;
  return write_all(head[0] == 0 ? 1 : 2, r->data, length) ? 1 : -1;
}

// Everything that is there now. A piece is complete as soon as the next one exists, so that is looked for before the reading.
static bool print_all(struct reader *r) {
  for (;;) {
    uint32_t next = 0;
    bool more = find_piece(r->dir, r->from, &next);
    int result = 0;
    while (r->fd >= 0 && (result = print_record(r)) > 0) continue;
    if (result < 0) return false;
    if (!more) return true;
    bool gap = next > r->from;
    r->from = next + 1;
    if (!open_piece(r, next) || gap) note("older output was dropped");
  }
}

static void await_change(const struct reader *r) {
  char events[4096];
  struct pollfd fd = {.fd = r->watch, .events = POLLIN};
  poll(&fd, 1, r->watch >= 0 ? WATCH_MS : BLIND_MS);
  while (r->watch >= 0 && read(r->watch, events, sizeof events) > 0) continue;
}

static int watch_dir(int dir) {
  char path[32];
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
  if (fd >= 0 && inotify_add_watch(fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE) < 0) close_fd(&fd);
  return fd;
}

// Ends as the command did, so that whoever runs us hears the same.
static int end_like(const struct keep_state *state) {
  if (state->signal == 0) return (int)state->code;
  sigset_t all;
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  signal((int)state->signal, SIG_DFL);
  sigfillset(&all);
  sigprocmask(SIG_UNBLOCK, &all, NULL);
  raise((int)state->signal);
  return 128 + (int)state->signal;
}

static int follow_to_end(struct reader *r) {
  struct keep_state state;
  r->watch = watch_dir(r->dir);
  for (;;) {
    bool known = keep_state_read(r->dir, &state);
    // Asked before the reading: what is there by then is all.
    enum keep_status status = known ? keep_status(r->dir, &state) : KEEP_LOST;
    if (!print_all(r)) return 125;
    if (status == KEEP_OVER) return end_like(&state);
    if (status == KEEP_LOST) {
      note("the keeper of this command was killed: nobody knows how it ended");
      return 125;
    }
    await_change(r);
  }
}

// The one id that begins so.
static bool find_id(int base, const char *wanted, char id[KEEP_ID_MAX + 1]) {
  size_t length = strlen(wanted), found = 0;
  int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  if (!dir) {
    close_fd(&fd);
    return false;
  }
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (!keep_is_id(entry->d_name) || strncmp(entry->d_name, wanted, length) != 0) continue;
    strcpy(id, entry->d_name);
    found++;
    if (entry->d_name[length] == 0) {
      found = 1;
      break;
    }
  }
  closedir(dir);
  if (found > 1) note("%s fits %zu kept commands", wanted, found);
  return found == 1;
}

int keep_read(int base, const char *wanted, bool follow) {
  static struct reader reader = {.dir = -1, .fd = -1, .watch = -1};
  char id[KEEP_ID_MAX + 1];
  if (!keep_is_id(wanted) || !find_id(base, wanted, id) || (reader.dir = keep_open(base, id)) < 0) {
    note("no kept command %.40s", wanted);
    return 125;
  }
  if (follow) return follow_to_end(&reader);
  return print_all(&reader) ? 0 : 125;
}
