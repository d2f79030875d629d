// `agent clock`: tells the time and steps it, line by line, for a host that measures how far it is off; `agent clock set`: the host's time as it is.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "programs.h"
#include "util.h"

#define SECOND 1000000000LL
#define LINE 64

// Nanoseconds since 1970: digits only, within a signed 64 bit number.
static bool parse(const char *text, int64_t *ns) {
  size_t length = strspn(text, "0123456789");
  if (length == 0 || length > 18 + 1 || text[length] || (length == 19 && strcmp(text, "9223372036854775807") > 0)) return false;
  for (*ns = 0; *text; text++) *ns = *ns * 10 + (*text - '0');
  return true;
}

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * SECOND + now.tv_nsec;
}

static bool set_ns(int64_t ns) {
  struct timespec time = {.tv_sec = ns / SECOND, .tv_nsec = (long)(ns % SECOND)};
  return clock_settime(CLOCK_REALTIME, &time) == 0;
}

// A step may lead back, but not before 1970.
static bool step(const char *text) {
  int64_t by, to;
  errno = EINVAL;
  if (!parse(text + (*text == '-'), &by)) return false;
  if (__builtin_add_overflow(now_ns(), *text == '-' ? -by : by, &to) || to < 0) return false;
  return set_ns(to);
}

static int usage(void) {
  fprintf(stderr, "usage: agent clock | agent clock set NANOSECONDS\n");
  return 2;
}

// Each line is answered at once, so the way there and back is all that the host has to allow for.
static int converse(void) {
  char line[LINE + 2];
  while (fgets(line, sizeof line, stdin)) {
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '\n') return usage();
    line[length - 1] = '\0';
    if (strcmp(line, "get") == 0)
      printf("%lld\n", (long long)now_ns());
    else if (strncmp(line, "step ", 5) != 0)
      return usage();
    else if (step(line + 5))
      printf("ok\n");
    else
      printf("error %d\n", errno);
    if (fflush(stdout) != 0) return 1;
  }
  return 0;
}

int clock_main(int argc, char **argv) {
  int64_t ns;
  if (argc == 1) return converse();
  if (argc != 3 || strcmp(argv[1], "set") != 0 || !parse(argv[2], &ns)) return usage();
  int64_t before = now_ns();
  if (!set_ns(ns)) {
    fprintf(stderr, "clock: %s\n", strerror(errno));
    return 1;
  }
  // By how much it was put forward (or back).
  printf("%lld\n", (long long)(ns - before));
  return 0;
}
