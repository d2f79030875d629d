// Frames of the agent protocol (guest/README.md): building, and parsing bytes that come in any pieces.
#ifndef BANGER_FRAME_H
#define BANGER_FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 12
#define FRAME_MAX 65536

enum frame_type {
  FRAME_INFO = 1,
  FRAME_PING = 2,
  FRAME_PONG = 3,
  FRAME_EXEC = 16,
  FRAME_DIAL = 17,
  FRAME_OPENED = 18,
  FRAME_FAILED = 19,
  FRAME_LISTEN = 20,
  FRAME_DATA = 32,
  FRAME_EOF = 33,
  FRAME_WINDOW = 34,
  FRAME_RESIZE = 35,
  FRAME_SIGNAL = 36,
  FRAME_HANGUP = 37,
  FRAME_EXIT = 38,
  FRAME_CLOSE = 39,
  FRAME_ACCEPTED = 40,
  FRAME_SHUTDOWN = 48,
  FRAME_SHUTDOWN_ACK = 49,
};

// Tags of TLV payloads.
enum tag {
  TAG_VERSION = 1,
  TAG_PROTOCOL = 2,
  TAG_BOOT_ID = 3,
  TAG_INIT = 4,
  TAG_PROBLEM = 5,
  TAG_ARG = 16,
  TAG_ENV = 17,
  TAG_CWD = 18,
  TAG_USER = 19,
  TAG_TTY = 20,
  TAG_STDIN = 21,
  TAG_LINE = 22,
  TAG_LOGIN = 23,
  TAG_BUILTIN = 24,
  TAG_BULK = 25,
  TAG_HOST = 32,
  TAG_PORT = 33,
  TAG_PATH = 34,
  TAG_STREAM = 35,
  TAG_ERRNO = 48,
  TAG_MESSAGE = 49,
};

struct frame {
  uint8_t type, flags;
  uint32_t stream, length;
  // Valid until the next call of the parser, and as long as the data it was parsed from.
  const uint8_t *payload;
};

struct frame_parser {
  uint8_t header[FRAME_HEADER];
  size_t header_have, payload_have;
  uint32_t length;
  uint8_t payload[FRAME_MAX];
};

enum frame_result { FRAME_MORE, FRAME_READY, FRAME_BAD };

void frame_parser_reset(struct frame_parser *parser);
// Takes at most one frame from `data`; `*used` says how many bytes went in. FRAME_BAD: the length is over the limit.
enum frame_result frame_parse(struct frame_parser *parser, const uint8_t *data, size_t length, size_t *used, struct frame *frame);
// How many bytes at `data` belong to the frame that is under way or begins there; of a cut header only its own. At least 1 when there is any.
size_t frame_rest(const struct frame_parser *parser, const uint8_t *data, size_t length);
void frame_header(uint8_t out[FRAME_HEADER], const struct frame *frame);

uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);

// TLV: u16 tag, u16 length, bytes; little endian.
struct tlv {
  uint16_t tag, length;
  const uint8_t *value;
};
// Next entry at `*at`; false at the end, or with `*bad` set when the payload is cut.
bool tlv_next(const uint8_t *payload, size_t length, size_t *at, struct tlv *entry, bool *bad);
// Appends; false when it does not fit `size`.
bool tlv_put(uint8_t *out, size_t size, size_t *length, uint16_t tag, const void *value, size_t value_length);
#endif
