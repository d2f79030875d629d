#define _GNU_SOURCE
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "util.h"

#define HANGUP_GRACE_MS 5000

struct stream *stream_new(uint32_t id, enum stream_kind kind) {
  struct stream *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  s->id = id;
  s->kind = kind;
  s->attached = true;
  s->in_fd = s->out[0].fd = s->out[1].fd = -1;
  s->listeners[0] = s->listeners[1] = s->opener.fd = -1;
  s->out[0].credit = s->out[1].credit = STREAM_WINDOW;
  s->in_window = STREAM_WINDOW;
  return s;
}

void stream_free(struct stream *s) {
  close_fd(&s->in_fd);
  close_fd(&s->out[0].fd);
  close_fd(&s->out[1].fd);
  close_fd(&s->listeners[0]);
  close_fd(&s->listeners[1]);
  // That of a unix socket that is listened on still has a file to remove; this tells it so.
  close_fd(&s->opener.fd);
  if (s->opener.pid > 0 && s->kind == STREAM_DIAL) kill(s->opener.pid, SIGKILL);
  free(s->in_data);
  free(s);
}

bool stream_adopt(struct stream *s, int fd) {
  s->in_fd = fd;
  s->out[0].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  s->out[1].end_due = true;
  s->connecting = false;
  s->opened = s->out[0].fd >= 0 && set_nonblocking(fd);
  return s->opened;
}

static ssize_t write_in(struct stream *s, const uint8_t *data, size_t length) {
  for (;;) {
    ssize_t n = s->kind == STREAM_DIAL ? send(s->in_fd, data, length, MSG_NOSIGNAL) : write(s->in_fd, data, length);
    if (n >= 0 || errno != EINTR) return n;
  }
}

// The reader is gone: the rest of the input has no place to go, and its sender must not wait for one.
static void discard_input(struct stream *s) {
  s->in_taken += (uint32_t)s->in_length;
  s->in_length = 0;
  s->in_eof = false;
  s->in_done = true;
  // A connection's other direction may still have something to say.
  if (s->kind == STREAM_EXEC) close_fd(&s->in_fd);
}

static void finish_input(struct stream *s) {
  if (!s->in_eof || s->in_length > 0 || s->in_fd < 0 || s->connecting) return;
  // A terminal has no end; its end-of-file character says the same to who reads lines.
  if (s->tty && write_in(s, (const uint8_t *)"\x04", 1) < 0 && errno == EAGAIN) return;
  s->in_eof = false;
  s->in_done = true;
  if (s->kind == STREAM_DIAL) {
    shutdown(s->in_fd, SHUT_WR);
  } else if (!s->tty) {
    close_fd(&s->in_fd);
  }
}

void stream_flush(struct stream *s) {
  while (s->in_length > 0 && s->in_fd >= 0 && !s->connecting) {
    ssize_t n = write_in(s, s->in_data + s->in_start, s->in_length);
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0) {
      discard_input(s);
      return;
    }
    s->in_start += (size_t)n;
    s->in_length -= (size_t)n;
    s->in_taken += (uint32_t)n;
  }
  if (s->in_length == 0) s->in_start = 0;
  finish_input(s);
}

static bool grow_input(struct stream *s, size_t length) {
  if (s->in_start > 0) memmove(s->in_data, s->in_data + s->in_start, s->in_length);
  s->in_start = 0;
  size_t size = s->in_size ? s->in_size : 16384;
  while (size < s->in_length + length) size *= 2;
  if (size == s->in_size) return true;
  uint8_t *larger = realloc(s->in_data, size);
  if (!larger) return false;
  s->in_data = larger;
  s->in_size = size;
  return true;
}

bool stream_write(struct stream *s, const uint8_t *data, size_t length) {
  if (length > s->in_window) return false;
  s->in_window -= (uint32_t)length;
  if ((s->in_fd < 0 && !s->connecting) || s->in_done) {
    s->in_taken += (uint32_t)length;
    return true;
  }
  if (s->in_length == 0 && !s->connecting) {
    ssize_t n = write_in(s, data, length);
    if (n < 0 && errno != EAGAIN) {
      s->in_taken += (uint32_t)length;
      discard_input(s);
      return true;
    }
    if (n > 0) {
      s->in_taken += (uint32_t)n;
      data += n;
      length -= (size_t)n;
    }
  }
  if (length == 0) return true;
  if (s->in_start + s->in_length + length > s->in_size && !grow_input(s, length)) return false;
  memcpy(s->in_data + s->in_start + s->in_length, data, length);
  s->in_length += length;
  return true;
}

void stream_end_input(struct stream *s) {
  s->in_eof = true;
  finish_input(s);
}

bool stream_wants_write(const struct stream *s) {
  return s->in_fd >= 0 && (s->connecting || s->in_length > 0 || s->in_eof);
}

static void signal_group(const struct stream *s, pid_t group, int number) {
  // A child that has not come to making its group yet is alone.
  if (kill(-group, number) < 0 && errno == ESRCH && !s->exited) kill(s->pid, number);
}

void stream_signal(const struct stream *s, int number) {
  pid_t group = 0;
  // With job control the shell's foreground job is what a person at the terminal means.
  if (s->tty && s->out[0].fd >= 0 && ioctl(s->out[0].fd, TIOCGPGRP, &group) < 0) group = 0;
  signal_group(s, group > 1 ? group : s->pid, number);
}

void stream_hangup(struct stream *s) {
  if (s->kind == STREAM_EXEC && s->pid > 0 && s->kill_at == 0) {
    if (s->tty) stream_signal(s, SIGHUP);
    signal_group(s, s->pid, SIGHUP);
    // A stopped process would not see it.
    signal_group(s, s->pid, SIGCONT);
    s->kill_at = now_ms() + HANGUP_GRACE_MS;
  }
  s->in_length = 0;
  s->in_done = true;
  if (!s->tty) close_fd(&s->in_fd);
}

void stream_detach(struct stream *s) {
  s->attached = false;
  stream_hangup(s);
  close_fd(&s->in_fd);
  close_fd(&s->out[0].fd);
  close_fd(&s->out[1].fd);
}
