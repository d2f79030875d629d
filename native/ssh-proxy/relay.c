// Both ways at once, with half-close: each direction ends by itself, and neither waits for the other's reader.
#define _GNU_SOURCE
#include "proxy.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LANE_BYTES = 128 * 1024 };

struct lane {
  int from, to;
  char data[LANE_BYTES];
  size_t start, end;
  bool ended, closed;
};

static bool again(int error) { return error == EAGAIN || error == EINTR; }

/// Reads what fits. An error counts as the end: the bytes read so far still go out.
static void fill(struct lane *lane) {
  ssize_t n = read(lane->from, lane->data + lane->end, sizeof lane->data - lane->end);
  if (n > 0) lane->end += (size_t)n;
  else if (n == 0 || !again(errno)) lane->ended = true;
}

/// When the reader is gone the lane is over, with what it still held.
static void drain(struct lane *lane) {
  ssize_t n = write(lane->to, lane->data + lane->start, lane->end - lane->start);
  if (n < 0 && again(errno)) return;
  if (n < 0) lane->ended = true;
  else lane->start += (size_t)n;
  if (n < 0 || lane->start == lane->end) lane->start = lane->end = 0;
}

static bool has_room(const struct lane *lane) { return !lane->ended && lane->end < sizeof lane->data; }
static bool has_data(const struct lane *lane) { return lane->start < lane->end; }
static bool is_over(const struct lane *lane) { return lane->ended && !has_data(lane); }

/// One turn of a lane, after poll.
static void turn(struct lane *lane, short from_events, short to_events) {
  if (lane->closed) return;
  if (has_data(lane) && to_events != 0) drain(lane);
  if (has_room(lane) && from_events != 0) fill(lane);
}

static void close_when_over(struct lane *lane, int socket_fd) {
  if (lane->closed || !is_over(lane)) return;
  lane->closed = true;
  if (lane->to == socket_fd) shutdown(socket_fd, SHUT_WR);
  else close(lane->to);
}

static void run(struct lane *out, struct lane *in, int fd) {
  while (!out->closed || !in->closed) {
    struct pollfd entries[3] = {
      { out->closed || !has_room(out) ? -1 : 0, POLLIN, 0 },
      { in->closed || !has_data(in) ? -1 : 1, POLLOUT, 0 },
      { fd, 0, 0 },
    };
    if (!out->closed && has_data(out)) entries[2].events |= POLLOUT;
    if (!in->closed && has_room(in)) entries[2].events |= POLLIN;
    // Nothing to do there: a socket whose other end is closed would wake us for ever.
    if (entries[2].events == 0 && !in->closed) entries[2].fd = -1;
    if (poll(entries, 3, -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    short socket_events = entries[2].revents;
    turn(out, entries[0].revents, socket_events & (POLLOUT | POLLERR | POLLHUP));
    turn(in, socket_events & (POLLIN | POLLERR | POLLHUP), entries[1].revents);
    close_when_over(out, fd);
    close_when_over(in, fd);
    // The daemon has closed altogether: nobody takes what else comes from stdin.
    if (in->closed && (socket_events & (POLLERR | POLLHUP)) != 0) return;
  }
}

void relay(int fd) {
  static struct lane out, in;
  out.to = in.from = fd;
  out.from = 0;
  in.to = 1;
  const int ends[] = { fd, 0, 1 };
  for (size_t i = 0; i < 3; i++) set_nonblocking(ends[i], true);
  run(&out, &in, fd);
  // The open file may be shared with others, such as a terminal's shell.
  for (size_t i = 0; i < 3; i++) set_nonblocking(ends[i], false);
}
