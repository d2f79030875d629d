#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

// Two of the longest packets, so that a read seldom has to wait for bytes to be moved.
#define INPUT_SIZE (2 * (SFTP_PACKET_MAX + 4))

static uint8_t *input;
static size_t start, end;
// A field that is missing or malformed.
static uint8_t nothing[1];

bool sftp_input_open(void) {
  input = malloc(INPUT_SIZE);
  return input != NULL;
}

static uint32_t load_u32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static void move_to_front(void) {
  memmove(input, input + start, end - start);
  end -= start;
  start = 0;
}

// Reads once, as much as fits. `wanted`: what the packet at `start` needs at least.
static enum sftp_input fill(size_t wanted) {
  if (start == end)
    start = end = 0;
  else if (INPUT_SIZE - start < wanted)
    move_to_front();
  if (!sftp_flush()) return SFTP_INPUT_ERROR;
  for (;;) {
    ssize_t n = read(STDIN_FILENO, input + end, INPUT_SIZE - end);
    if (n > 0) {
      end += (size_t)n;
      return SFTP_INPUT_PACKET;
    }
    if (n == 0) return SFTP_INPUT_END;
    if (errno == EAGAIN)
      poll(&(struct pollfd){.fd = STDIN_FILENO, .events = POLLIN}, 1, -1);
    else if (errno != EINTR)
      return SFTP_INPUT_ERROR;
  }
}

enum sftp_input sftp_next(struct sftp_request *request) {
  for (;;) {
    size_t have = end - start, wanted = 4;
    if (have >= 4) {
      uint32_t length = load_u32(input + start);
      if (length == 0 || length > SFTP_PACKET_MAX) return SFTP_INPUT_BAD;
      wanted += length;
      if (have >= wanted) {
        *request = (struct sftp_request){.at = input + start + 4, .left = length};
        start += wanted;
        return SFTP_INPUT_PACKET;
      }
    }
    enum sftp_input result = fill(wanted);
    if (result != SFTP_INPUT_PACKET) return result;
  }
}

static uint8_t *take(struct sftp_request *r, size_t length) {
  if (r->bad || r->left < length) {
    r->bad = true;
    return NULL;
  }
  uint8_t *at = r->at;
  r->at += length;
  r->left -= length;
  return at;
}

uint8_t sftp_get_u8(struct sftp_request *r) {
  const uint8_t *at = take(r, 1);
  return at ? *at : 0;
}

uint32_t sftp_get_u32(struct sftp_request *r) {
  const uint8_t *at = take(r, 4);
  return at ? load_u32(at) : 0;
}

uint64_t sftp_get_u64(struct sftp_request *r) {
  const uint8_t *at = take(r, 8);
  return at ? (uint64_t)load_u32(at) << 32 | load_u32(at + 4) : 0;
}

uint8_t *sftp_get_bytes(struct sftp_request *r, uint32_t *length) {
  *length = sftp_get_u32(r);
  uint8_t *at = take(r, *length);
  if (at) return at;
  *length = 0;
  return nothing;
}

char *sftp_get_text(struct sftp_request *r) {
  uint32_t length;
  uint8_t *bytes = sftp_get_bytes(r, &length);
  if (r->bad) return (char *)nothing;
  const uint8_t *zero = memchr(bytes, 0, length);
  if (zero && zero != bytes + length - 1) {
    r->bad = true;
    return (char *)nothing;
  }
  // Over the last byte of its own length, which has been read.
  char *text = (char *)bytes - 1;
  memmove(text, bytes, length);
  text[length] = 0;
  return text;
}
