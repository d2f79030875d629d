#define _GNU_SOURCE
#include "report.h"
#include "stream.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define SIZE (4 << 20)
// More than that no pipe gives at once.
#define PIPE (1 << 20)
// Less is cheaper moved than read around.
#define MOVED 4096
#define DRAINED (1 << 20)

// A block of the stream is at a block's place in it: O_DIRECT writes contents from here.
_Alignas(4096) static uint8_t buffer[SIZE];
static size_t at, end;
static int source = 0;
static uint64_t total;
static int nothing = -1;
static volatile sig_atomic_t stopped_by;

// A read that waits is interrupted, one that has yet to begin finds the end of /dev/null.
static void stop(int signal) {
  int saved = errno;
  stopped_by = signal;
  dup2(nothing, source);
  errno = saved;
}

static void take_signals(void) {
  nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return;
  struct sigaction action = {.sa_handler = stop};
  sigemptyset(&action.sa_mask);
  sigaction(SIGHUP, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

void copy_in_open(void) {
  take_signals();
  if (copy_wire_on()) {
    source = copy_wire_open(0);
    end = copy_wire_greet(buffer, SIZE);
  } else {
    fcntl(0, F_SETPIPE_SZ, PIPE);
  }
}

int copy_in_signal(void) { return stopped_by; }

// Reads more behind what is buffered: false at the end.
static bool fill(void) {
  size_t to = at % COPY_BLOCK, room = copy_wire_on() ? SIZE : PIPE;
  if (at > to && (end - at < MOVED || room - end < PIPE)) {
    memmove(buffer + to, buffer + at, end - at);
    end -= at - to;
    at = to;
  }
  for (;;) {
    if (stopped_by) return false;
    int64_t n = copy_wire_on() ? copy_wire_read(buffer + end, room - end) : read(0, buffer + end, room - end);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) copy_fail("cannot read the stream: %s", strerror(errno));
    if (n == 0) return false;
    end += (size_t)n;
    total += (uint64_t)n;
    copy_progress(total);
    return true;
  }
}

const uint8_t *copy_in_block(void) {
  while (end - at < COPY_BLOCK)
    if (!fill()) return NULL;
  const uint8_t *block = buffer + at;
  at += COPY_BLOCK;
  return block;
}

size_t copy_in_rest(const uint8_t **data) {
  *data = buffer + at;
  return end - at;
}

size_t copy_in_some(const uint8_t **data, uint64_t want) {
  if (at == end && !fill()) return 0;
  size_t n = end - at;
  if (n > want) n = (size_t)want;
  *data = buffer + at;
  at += n;
  return n;
}

size_t copy_in_units(const uint8_t **data, size_t least, uint64_t want) {
  while (end - at < least)
    if (!fill()) return 0;
  size_t n = end - at;
  if (n > want) n = (size_t)want;
  n -= n % COPY_UNIT;
  *data = buffer + at;
  at += n;
  return n;
}

bool copy_in_exactly(void *into, size_t length) {
  uint8_t *out = into;
  while (length > 0) {
    const uint8_t *data;
    size_t n = copy_in_some(&data, length);
    if (n == 0) return false;
    memcpy(out, data, n);
    out += n;
    length -= n;
  }
  return true;
}

bool copy_in_skip(uint64_t length) {
  while (length > 0) {
    const uint8_t *data;
    size_t n = copy_in_some(&data, length);
    if (n == 0) return false;
    length -= n;
  }
  return true;
}

bool copy_in_empty(void) { return at == end; }

int64_t copy_in_splice(int fd, uint64_t want) {
  if (copy_wire_on()) return errno = EINVAL, -1;
  for (;;) {
    if (stopped_by) return 0;
    ssize_t n = splice(0, NULL, fd, NULL, want < PIPE ? (size_t)want : PIPE, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n > 0) {
      total += (uint64_t)n;
      copy_progress(total);
    }
    return n;
  }
}

void copy_in_drain(void) {
  if (copy_wire_on()) {
    copy_wire_thank();
    return;
  }
  size_t drained = end - at;
  at = end = 0;
  while (drained < DRAINED) {
    struct pollfd ready = {.fd = 0, .events = POLLIN};
    int n = poll(&ready, 1, 1000);
    if (n < 0 && errno == EINTR && !stopped_by) continue;
    if (n <= 0) return;
    ssize_t length = read(0, buffer, DRAINED);
    if (length <= 0) return;
    total += (uint64_t)length;
    drained += (size_t)length;
  }
}

uint64_t copy_in_bytes(void) { return total; }
