#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define REPLY_MAX (SFTP_PACKET_MAX + 4)
#define OUTPUT_SIZE (2 * REPLY_MAX)
// Type, id and the data's length.
#define DATA_HEADER 9

static uint8_t *output;
// [0, done) are whole replies; the one being made ends at `at`.
static size_t done, at;
static bool too_long;
static uint32_t reply_id, version;

bool sftp_output_open(void) {
  output = malloc(OUTPUT_SIZE);
  return output != NULL;
}

bool sftp_flush(void) {
  size_t sent = 0;
  while (sent < done) {
    ssize_t n = write(STDOUT_FILENO, output + sent, done - sent);
    if (n >= 0)
      sent += (size_t)n;
    else if (errno == EAGAIN)
      poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
    else if (errno != EINTR)
      return false;
  }
  done = 0;
  return true;
}

bool sftp_reply_room(void) { return OUTPUT_SIZE - done >= REPLY_MAX || sftp_flush(); }

static void store_u32(uint8_t *to, uint32_t value) {
  to[0] = (uint8_t)(value >> 24);
  to[1] = (uint8_t)(value >> 16);
  to[2] = (uint8_t)(value >> 8);
  to[3] = (uint8_t)value;
}

size_t sftp_reply_left(void) { return done + REPLY_MAX - at; }

// Where so many more bytes of the reply go; NULL when they do not fit.
static uint8_t *more(size_t length) {
  if (too_long || sftp_reply_left() < length) {
    too_long = true;
    return NULL;
  }
  uint8_t *to = output + at;
  at += length;
  return to;
}

void sftp_put_u32(uint32_t value) {
  uint8_t *to = more(4);
  if (to) store_u32(to, value);
}

void sftp_put_u64(uint64_t value) {
  sftp_put_u32((uint32_t)(value >> 32));
  sftp_put_u32((uint32_t)value);
}

void sftp_put_bytes(const void *bytes, size_t length) {
  if (length > SFTP_PACKET_MAX) length = SFTP_PACKET_MAX; // does not fit, and says so
  sftp_put_u32((uint32_t)length);
  uint8_t *to = more(length);
  if (to) memcpy(to, bytes, length);
}

void sftp_put_text(const char *text) { sftp_put_bytes(text, strlen(text)); }

void sftp_reply_begin(enum sftp_type type, uint32_t id) {
  too_long = false;
  reply_id = id;
  output[done + 4] = (uint8_t)type;
  at = done + 5;
  sftp_put_u32(id);
}

void sftp_reply_end(void) {
  if (too_long) {
    sftp_reply_status(reply_id, SFTP_FAILURE);
    return;
  }
  store_u32(output + done, (uint32_t)(at - done - 4));
  done = at;
}

uint8_t *sftp_data_begin(uint32_t id) {
  sftp_reply_begin(SFTP_DATA, id);
  return output + done + 4 + DATA_HEADER;
}

void sftp_data_end(size_t length) {
  sftp_put_u32((uint32_t)length);
  more(length);
  sftp_reply_end();
}

void sftp_reply_version(uint32_t client_version) {
  version = client_version;
  // The version stands where other replies have the request's id.
  sftp_reply_begin(SFTP_VERSION_REPLY, SFTP_VERSION);
  sftp_put_extensions();
  sftp_reply_end();
}

static const char *text_of(enum sftp_status status) {
  static const char *const texts[] = {"Success",     "End of file",   "No such file",    "Permission denied",    "Failure",
                                      "Bad message", "No connection", "Connection lost", "Operation unsupported"};
  return texts[status];
}

void sftp_reply_status_text(uint32_t id, enum sftp_status status, const char *text) {
  sftp_reply_begin(SFTP_STATUS, id);
  sftp_put_u32(status);
  if (version >= 3) {
    sftp_put_text(text);
    sftp_put_text(""); // the language
  }
  sftp_reply_end();
}

void sftp_reply_status(uint32_t id, enum sftp_status status) { sftp_reply_status_text(id, status, text_of(status)); }

enum sftp_status sftp_status_of(int error) {
  switch (error) {
    case 0:
      return SFTP_OK;
    case ENOENT:
    case ENOTDIR:
    case EBADF:
    case ELOOP:
      return SFTP_NO_SUCH_FILE;
    case EPERM:
    case EACCES:
    case EFAULT:
      return SFTP_PERMISSION_DENIED;
    case ENAMETOOLONG:
    case EINVAL:
      return SFTP_BAD_MESSAGE;
    case ENOSYS:
      return SFTP_OP_UNSUPPORTED;
    default:
      return SFTP_FAILURE;
  }
}

void sftp_reply_result(uint32_t id, int result) { sftp_reply_status(id, result < 0 ? sftp_status_of(errno) : SFTP_OK); }

void sftp_names_begin(uint32_t id) {
  sftp_reply_begin(SFTP_NAME, id);
  sftp_put_u32(0);
}

void sftp_names_end(uint32_t count) {
  store_u32(output + done + DATA_HEADER, count);
  sftp_reply_end();
}

void sftp_reply_name(uint32_t id, const char *name) {
  sftp_names_begin(id);
  sftp_put_text(name);
  sftp_put_text(name);
  sftp_put_u32(0); // no attributes
  sftp_names_end(1);
}
