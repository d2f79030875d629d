#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

// OpenSSH's step: which requests past the end of the file are answered with EOF depends on it.
#define STEP (64u << 10)
#define STEPS_BETWEEN_LOOKS 256

struct copy {
  const struct sftp_handle *from, *to;
  uint64_t from_offset, to_offset, length;
  bool to_the_end;
};

static bool is_same_file(const struct copy *c) {
  struct stat from, to;
  return fstat(c->from->fd, &from) == 0 && fstat(c->to->fd, &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino;
}

// A device may have no end: nobody copies for a client that has gone.
static bool client_is_gone(void) {
  struct pollfd out = {.fd = STDOUT_FILENO};
  return poll(&out, 1, 0) == 1 && out.revents & (POLLERR | POLLHUP | POLLNVAL);
}

static ssize_t read_step(int fd, uint8_t *buffer, size_t length) {
  size_t have = 0;
  while (have < length) {
    ssize_t n = read(fd, buffer + have, length - have);
    if (n == 0 || (n < 0 && have)) break;
    if (n < 0) return -1;
    have += (size_t)n;
  }
  return (ssize_t)have;
}

static bool write_step(int fd, const uint8_t *buffer, size_t length) {
  for (size_t sent = 0; sent < length;) {
    ssize_t n = write(fd, buffer + sent, length - sent);
    if (n < 0) return false;
    if (n == 0) {
      errno = EIO;
      return false;
    }
    sent += (size_t)n;
  }
  return true;
}

static enum sftp_status copy_steps(struct copy *c) {
  static uint8_t buffer[STEP];
  for (uint32_t steps = 1; c->length > 0; steps++) {
    size_t length = c->length < STEP ? (size_t)c->length : STEP;
    c->length -= length;
    ssize_t n = read_step(c->from->fd, buffer, length);
    if (n < 0) return sftp_status_of(errno);
    if (n == 0) return c->to_the_end || c->length == 0 ? SFTP_OK : SFTP_EOF;
    if (!write_step(c->to->fd, buffer, (size_t)n)) return sftp_status_of(errno);
    if (steps % STEPS_BETWEEN_LOOKS == 0 && client_is_gone()) return SFTP_FAILURE;
  }
  return SFTP_OK;
}

void sftp_copy_data(struct sftp_request *r) {
  struct copy copy = {.from = sftp_get_file(r)};
  copy.from_offset = sftp_get_u64(r);
  copy.length = sftp_get_u64(r);
  copy.to = sftp_get_file(r);
  copy.to_offset = sftp_get_u64(r);
  if (r->bad) return;
  if (copy.length == 0) {
    copy.length = UINT64_MAX - copy.from_offset;
    copy.to_the_end = true;
  }
  bool refused = !copy.from || !copy.to || copy.from == copy.to || strcmp(copy.from->name, copy.to->name) == 0 ||
                 // It would grow as it is read.
                 (copy.to_the_end && is_same_file(&copy));
  if (refused)
    sftp_reply_status(r->id, SFTP_FAILURE);
  else if (lseek(copy.from->fd, (off_t)copy.from_offset, SEEK_SET) < 0 ||
           (!(copy.to->flags & O_APPEND) && lseek(copy.to->fd, (off_t)copy.to_offset, SEEK_SET) < 0))
    sftp_reply_result(r->id, -1);
  else
    sftp_reply_status(r->id, copy_steps(&copy));
}
