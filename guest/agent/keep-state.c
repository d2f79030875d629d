// What is told about a kept command, and whether its keeper lives.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "keep.h"
#include "util.h"

#define STATE_SIZE (KEEP_COMMAND + 512)
#define NEXT "state.next"

uint64_t keep_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool keep_is_id(const char *text) {
  size_t length = strspn(text, "0123456789abcdef");
  return length > 0 && length <= KEEP_ID_MAX && text[length] == 0;
}

void keep_command_text(char text[KEEP_COMMAND], char *const *words) {
  size_t at = 0;
  for (size_t i = 0; words[i]; i++) {
    if (i > 0 && at < KEEP_COMMAND - 4) text[at++] = ' ';
    for (const char *c = words[i]; *c && at < KEEP_COMMAND - 4; c++) {
      if (*c > ' ' && *c <= '~' && *c != '%')
        text[at++] = *c;
      else
        at += (size_t)snprintf(text + at, 4, "%%%02X", (unsigned)(unsigned char)*c);
    }
  }
  text[at] = 0;
}

static int format_state(char *text, const struct keep_state *s) {
  return snprintf(text, STATE_SIZE, "pid %d\nstarted %llu\nended %llu\ncode %u\nsignal %u\nbytes %llu\ndropped %llu\ncommand %s\n", (int)s->pid,
      (unsigned long long)s->started, (unsigned long long)s->ended, s->code, s->signal, (unsigned long long)s->bytes,
      (unsigned long long)s->dropped, s->command);
}

// Into a file that is there, as big as any state, so that it needs no room; then it takes the place of the one before.
static bool write_over(int dir, const char *text, size_t length) {
  int fd = openat(dir, NEXT, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  bool ok = write_all(fd, text, length) && ftruncate(fd, (off_t)length) == 0;
  close(fd);
  return ok && renameat(dir, NEXT, dir, "state") == 0;
}

bool keep_state_reserve(int dir) {
  static const char blank[STATE_SIZE];
  int fd = openat(dir, NEXT, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool ok = write_all(fd, blank, sizeof blank);
  int error = errno;
  close(fd);
  errno = error;
  return ok;
}

bool keep_state_write(int dir, const struct keep_state *state) {
  char text[STATE_SIZE];
  int length = format_state(text, state);
  return length >= 0 && length < STATE_SIZE && write_over(dir, text, (size_t)length);
}

static uint64_t number_of(const char *value) {
  uint64_t number = 0;
  for (size_t i = 0; value[i] >= '0' && value[i] <= '9' && i < 18; i++) number = number * 10 + (uint64_t)(value[i] - '0');
  return number;
}

static void take_command(struct keep_state *state, const char *value) {
  size_t n = 0;
  while (n < sizeof state->command - 1 && value[n] >= ' ' && value[n] <= '~') n++;
  memcpy(state->command, value, n);
  state->command[n] = 0;
}

static void take_line(struct keep_state *state, const char *line) {
  const char *space = strchr(line, ' ');
  if (!space) return;
  size_t key = (size_t)(space - line);
  uint64_t number = number_of(space + 1);
  const struct {
    const char *key;
    uint64_t *value;
  } fields[] = {{"started", &state->started}, {"ended", &state->ended}, {"bytes", &state->bytes}, {"dropped", &state->dropped}};
  for (size_t i = 0; i < COUNT_OF(fields); i++)
    if (strlen(fields[i].key) == key && memcmp(fields[i].key, line, key) == 0) *fields[i].value = number;
  if (strncmp(line, "pid ", 4) == 0) state->pid = (pid_t)(number & 0x7fffffff);
  if (strncmp(line, "code ", 5) == 0) state->code = (unsigned)(number & 0xff);
  if (strncmp(line, "signal ", 7) == 0) state->signal = number < 65 ? (unsigned)number : 0;
  if (strncmp(line, "command ", 8) == 0) take_command(state, space + 1);
}

bool keep_state_read(int dir, struct keep_state *state) {
  char text[STATE_SIZE];
  struct stat st;
  *state = (struct keep_state){0};
  // Neither a FIFO may hold us up, nor a link lead elsewhere.
  int fd = openat(dir, "state", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, text, sizeof text - 1) : -1;
  close(fd);
  if (n <= 0) return false;
  text[n] = 0;
  for (char *rest = text, *line; (line = strsep(&rest, "\n"));) take_line(state, line);
  return true;
}

int keep_lock(int dir) {
  int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) close_fd(&fd);
  return fd;
}

static bool is_locked(int dir) {
  int fd = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  bool locked = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
  close(fd);
  return locked;
}

enum keep_status keep_status(int dir, struct keep_state *state) {
  if (state->ended > 0) return KEEP_OVER;
  if (is_locked(dir)) return KEEP_RUNNING;
  // The keeper may have ended since the state was read; its last word comes before it lets go of the lock.
  return keep_state_read(dir, state) && state->ended > 0 ? KEEP_OVER : KEEP_LOST;
}

int keep_open(int base, const char *id) { return openat(base, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

void keep_remove(int base, const char *id) {
  int fd = keep_open(base, id);
  DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
  if (!dir) {
    close_fd(&fd);
    return;
  }
  for (struct dirent *entry; (entry = readdir(dir));) unlinkat(dirfd(dir), entry->d_name, 0);
  closedir(dir);
  unlinkat(base, id, AT_REMOVEDIR);
}
