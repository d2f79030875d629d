// The guest's serial console for one client at a time: what the VMM writes goes to the log first and then here; what the client sends
// goes to the VMM's standard input. Neither a client nor a guest that stops reading holds up the log: all buffers are bounded.
//
// A client gets one line, `ok` or `busy`; after `ok` come the last bytes of the output and then everything as it is, both ways.
#define _GNU_SOURCE
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/// What the VMM's end of the pipe may hold: with `in` of the relay all that a guest that does not read can make anybody keep.
enum { PIPE_BYTES = 4096, NOTICE_BYTES = 80 };

static size_t ring_add(struct ring *ring, const char *data, size_t size) {
  size_t room = ring->size - ring->length;
  size_t part = size < room ? size : room;
  for (size_t i = 0; i < part; i++) ring->bytes[(ring->start + ring->length + i) % ring->size] = data[i];
  ring->length += part;
  return part;
}

static void ring_drop(struct ring *ring, size_t size) {
  ring->start = (ring->start + size) % ring->size;
  ring->length -= size;
}

/// The bytes that lie in one piece at the front.
static size_t ring_front(const struct ring *ring) {
  size_t piece = ring->size - ring->start;
  return ring->length < piece ? ring->length : piece;
}

/// Writes what the descriptor takes now; false when it takes nothing ever again.
static bool ring_flush(struct ring *ring, int fd) {
  while (ring->length > 0) {
    ssize_t n = write(fd, ring->bytes + ring->start, ring_front(ring));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    ring_drop(ring, (size_t)n);
  }
  return true;
}

void console_open(struct console *console, int listener, int *theirs) {
  int input[2];
  if (pipe2(input, O_CLOEXEC) != 0) fail(EXIT_SETUP, "pipe: %s", strerror(errno));
  fcntl(input[1], F_SETPIPE_SZ, PIPE_BYTES);
  fcntl(input[1], F_SETFL, O_NONBLOCK);
  fcntl(listener, F_SETFL, O_NONBLOCK);
  console->listener = listener;
  console->input = input[1];
  console->client = -1;
  console->recent = (struct ring){ .bytes = console->recent_bytes, .size = sizeof console->recent_bytes };
  console->out = (struct ring){ .bytes = console->out_bytes, .size = sizeof console->out_bytes };
  console->in = (struct ring){ .bytes = console->in_bytes, .size = sizeof console->in_bytes };
  *theirs = input[0];
}

/// Bytes for a client, all or none of them: it reads on from a point that is marked.
static void console_send(struct console *console, const char *data, size_t size) {
  struct ring *out = &console->out;
  if (console->lost > 0 && out->size - out->length >= NOTICE_BYTES + size) {
    char text[NOTICE_BYTES];
    int n = snprintf(text, sizeof text, "\r\n[banger: %zu bytes left out]\r\n", console->lost);
    ring_add(out, text, (size_t)n);
    console->lost = 0;
  }
  if (console->lost > 0 || ring_add(out, data, size < out->size - out->length ? size : 0) < size) console->lost += size;
}

void console_output(struct console *console, const char *data, size_t size) {
  struct ring *recent = &console->recent;
  size_t tail = size < recent->size ? size : recent->size;
  if (recent->length + tail > recent->size) ring_drop(recent, recent->length + tail - recent->size);
  ring_add(recent, data + size - tail, tail);
  if (console->client < 0) return;
  for (size_t at = 0; at < size; at += PIPE_BYTES) console_send(console, data + at, size - at < PIPE_BYTES ? size - at : PIPE_BYTES);
}

static void hang_up(struct console *console) {
  if (console->input >= 0) (void)ring_flush(&console->in, console->input);
  close(console->client);
  console->client = -1;
  console->client_ended = false;
  console->lost = 0;
  // What one client typed is nothing to send when the next one is there.
  console->in.length = console->out.length = 0;
}

static void answer(int fd, const char *line) {
  if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
}

static void take_client(struct console *console) {
  int fd = accept4(console->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  if (console->client >= 0) {
    answer(fd, "busy\n");
    close(fd);
    return;
  }
  console->client = fd;
  answer(fd, "ok\n");
  struct ring *recent = &console->recent;
  size_t front = ring_front(recent);
  ring_add(&console->out, recent->bytes + recent->start, front);
  ring_add(&console->out, recent->bytes, recent->length - front);
}

static void read_client(struct console *console) {
  char buffer[PIPE_BYTES];
  size_t room = console->in.size - console->in.length;
  ssize_t n = read(console->client, buffer, room < sizeof buffer ? room : sizeof buffer);
  if (n > 0) ring_add(&console->in, buffer, (size_t)n);
  // It may have no more to say and still want to read.
  else if (n == 0) console->client_ended = true;
  else if (errno != EAGAIN && errno != EINTR) hang_up(console);
}

void console_poll(const struct console *console, struct pollfd fds[CONSOLE_POLLS]) {
  bool reads = !console->client_ended && console->in.length < console->in.size && console->input >= 0;
  bool writes = console->out.length > 0;
  fds[0] = (struct pollfd){ console->listener, POLLIN, 0 };
  fds[1] = (struct pollfd){ console->client, (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0)), 0 };
  fds[2] = (struct pollfd){ console->in.length > 0 ? console->input : -1, POLLOUT, 0 };
}

static void serve_client(struct console *console, short events) {
  if (events & POLLIN) read_client(console);
  else if (events & (POLLHUP | POLLERR)) hang_up(console);
  if (console->client < 0 || !(events & POLLOUT)) return;
  if (!ring_flush(&console->out, console->client)) hang_up(console);
  // The rest of what a client missed while it did not read is said as soon as it reads.
  else if (console->lost > 0) console_send(console, "", 0);
}

void console_ready(struct console *console, const struct pollfd fds[CONSOLE_POLLS]) {
  if (fds[1].revents != 0) serve_client(console, fds[1].revents);
  if (console->in.length > 0 && console->input >= 0 && !ring_flush(&console->in, console->input)) {
    // A VMM that closed its input; what it says is worth hearing all the same.
    close(console->input);
    console->input = -1;
    console->in.length = 0;
  }
  if (fds[0].revents != 0) take_client(console);
}

void console_end(struct console *console) {
  if (console->client < 0) return;
  if (ring_flush(&console->out, console->client) && console->lost > 0) {
    console_send(console, "", 0);
    (void)ring_flush(&console->out, console->client);
  }
  hang_up(console);
}
