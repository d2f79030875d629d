#define _GNU_SOURCE
#include "report.h"
#include "stream.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SIZE (512 << 10)
#define PIPE (1 << 20)

static uint8_t buffer[SIZE];
static size_t used;
static uint64_t total;

void copy_out_open(void) {
  if (!copy_wire_on()) {
    fcntl(1, F_SETPIPE_SZ, PIPE);
    return;
  }
  copy_wire_open(1);
  // A receiver says nothing after its hello.
  copy_wire_greet(buffer, SIZE);
}

void copy_out_settle(void) {
  if (copy_wire_on()) copy_wire_settle();
}

void copy_out_flush(void) {
  size_t at = 0;
  if (copy_wire_on()) {
    copy_wire_write(buffer, used);
    at = used;
  }
  while (at < used) {
    ssize_t n = write(1, buffer + at, used - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) copy_fail("the other end stopped reading");
    if (n < 0) copy_fail("cannot write the stream: %s", strerror(errno));
    at += (size_t)n;
  }
  used = 0;
  copy_progress(total);
}

uint8_t *copy_out_room(size_t length) {
  if (SIZE - used < length) copy_out_flush();
  return buffer + used;
}

void copy_out_used(size_t length) {
  used += length;
  total += length;
}

void copy_out_write(const void *data, size_t length) {
  const uint8_t *from = data;
  while (length > 0) {
    size_t n = length < COPY_OUT_ROOM ? length : COPY_OUT_ROOM;
    memcpy(copy_out_room(n), from, n);
    copy_out_used(n);
    from += n;
    length -= n;
  }
}

void copy_out_zeros(uint64_t length) {
  while (length > 0) {
    size_t n = length < COPY_OUT_ROOM ? (size_t)length : COPY_OUT_ROOM;
    memset(copy_out_room(n), 0, n);
    copy_out_used(n);
    length -= n;
  }
}

int64_t copy_out_splice(int fd, uint64_t offset, uint64_t want) {
  if (copy_wire_on()) return errno = EINVAL, -1;
  copy_out_flush();
  for (;;) {
    off_t from = (off_t)offset;
    ssize_t n = splice(fd, &from, 1, NULL, want < PIPE ? (size_t)want : PIPE, SPLICE_F_MORE);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EPIPE) copy_fail("the other end stopped reading");
    if (n > 0) total += (uint64_t)n;
    copy_progress(total);
    return n;
  }
}

uint64_t copy_out_bytes(void) { return total; }
