#define _POSIX_C_SOURCE 200809L
#include "report.h"

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SHOWN_PROBLEMS 20

// What is told of the end waits so long for a reader of progress.
#define SAY_MS 10000

static uint64_t problems;
static int code_on_fail = COPY_REFUSED;
static const char *(*undo_on_fail)(void);

// Names come from the other side: no control character of theirs reaches a terminal. C2 80 to C2 9F are the C1 controls in UTF-8.
static size_t harmless(const char *text, char *out, size_t size) {
  size_t at = 0;
  for (const unsigned char *p = (const unsigned char *)text; *p && at + 9 < size; p++) {
    if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) {
      at += (size_t)snprintf(out + at, size - at, "\\x%02x\\x%02x", p[0], p[1]);
      p++;
    } else if (*p < 0x20 || *p == 0x7f) {
      at += (size_t)snprintf(out + at, size - at, "\\x%02x", *p);
    } else {
      out[at++] = (char)*p;
    }
  }
  out[at] = 0;
  return at;
}

static void write_all(int fd, const char *text, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, text, length);
    if (n <= 0) return;
    text += n;
    length -= (size_t)n;
  }
}

static void tell(const char *prefix, const char *format, va_list args) {
  static char raw[12288];
  static char line[16384];
  vsnprintf(raw, sizeof raw, format, args);
  size_t at = (size_t)snprintf(line, sizeof line, "copy: %s", prefix);
  at += harmless(raw, line + at, sizeof line - at - 1);
  line[at++] = '\n';
  write_all(2, line, at);
}

void copy_problem(const char *format, ...) {
  if (++problems > SHOWN_PROBLEMS) return;
  va_list args;
  va_start(args, format);
  tell("", format, args);
  va_end(args);
}

void copy_note(const char *format, ...) {
  va_list args;
  va_start(args, format);
  tell("note: ", format, args);
  va_end(args);
}

int copy_result(void) {
  if (problems > SHOWN_PROBLEMS) {
    char line[64];
    int length = snprintf(line, sizeof line, "copy: and %llu more\n", (unsigned long long)(problems - SHOWN_PROBLEMS));
    write_all(2, line, (size_t)length);
  }
  return problems ? COPY_PARTIAL : COPY_DONE;
}

void copy_on_fail(const char *(*undo)(void)) { undo_on_fail = undo; }

void copy_fail(const char *format, ...) {
  static char reason[8192];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  const char *(*undo)(void) = undo_on_fail;
  // What undo itself finds fatal does not come here twice.
  undo_on_fail = NULL;
  const char *stays = undo ? undo() : NULL;
  copy_result();
  static char line[12288];
  snprintf(line, sizeof line, "%s%s%s", reason, stays ? ": " : "", stays ? stays : "");
  static char shown[16384] = "copy: ";
  size_t length = 6 + harmless(line, shown + 6, sizeof shown - 7);
  shown[length++] = '\n';
  write_all(2, shown, length);
  exit(code_on_fail);
}

static int progress_fd = -1;
static uint64_t progress_entries;
static char progress_name[1024];
static struct timespec progress_next;

void copy_progress_open(int fd) { progress_fd = fd; }

void copy_progress_entry(const char *name) {
  progress_entries++;
  if (progress_fd >= 0) harmless(name, progress_name, sizeof progress_name);
}

static void progress_line(uint64_t bytes) {
  char line[1200];
  int length = snprintf(line, sizeof line, "%llu %llu %s\n", (unsigned long long)bytes, (unsigned long long)progress_entries, progress_name);
  // A line is shorter than PIPE_BUF: where poll says there is room, the write does not block. A slow reader misses lines.
  struct pollfd ready = {.fd = progress_fd, .events = POLLOUT};
  if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)) return;
  if (write(progress_fd, line, (size_t)length) < 0) progress_fd = -1;
}

void copy_progress(uint64_t bytes) {
  if (progress_fd < 0) return;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec < progress_next.tv_sec || (now.tv_sec == progress_next.tv_sec && now.tv_nsec < progress_next.tv_nsec)) return;
  progress_next = now;
  progress_next.tv_nsec += 200000000;
  if (progress_next.tv_nsec >= 1000000000) {
    progress_next.tv_nsec -= 1000000000;
    progress_next.tv_sec++;
  }
  progress_line(bytes);
}

void copy_progress_end(uint64_t bytes) {
  if (progress_fd >= 0) progress_line(bytes);
}

void copy_progress_say(const char *line) {
  struct pollfd ready = {.fd = progress_fd, .events = POLLOUT};
  if (progress_fd >= 0 && poll(&ready, 1, SAY_MS) == 1) write_all(progress_fd, line, strlen(line));
}

void copy_stalled(uint64_t moved) {
  char line[48];
  snprintf(line, sizeof line, "stalled %llu\n", (unsigned long long)moved);
  copy_progress_say(line);
  code_on_fail = COPY_STALLED;
  copy_fail("the other end stalled");
}
