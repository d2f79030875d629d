#include "frame.h"

#include <string.h>

uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

uint32_t get_u32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *at, uint32_t value) {
  put_u16(at, (uint16_t)value);
  put_u16(at + 2, (uint16_t)(value >> 16));
}

void frame_parser_reset(struct frame_parser *parser) {
  parser->header_have = 0;
  parser->payload_have = 0;
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

enum frame_result frame_parse(struct frame_parser *p, const uint8_t *data, size_t length, size_t *used, struct frame *frame) {
  *used = 0;
  // A frame that is here as a whole needs no copy.
  if (p->header_have == 0 && length >= FRAME_HEADER) {
    uint32_t size = get_u32(data);
    if (size <= FRAME_MAX && length - FRAME_HEADER >= size) {
      *used = FRAME_HEADER + size;
      *frame = (struct frame){.type = data[4], .flags = data[5], .stream = get_u32(data + 8), .length = size, .payload = data + FRAME_HEADER};
      return FRAME_READY;
    }
  }
  if (p->header_have < FRAME_HEADER) {
    size_t n = min_size(FRAME_HEADER - p->header_have, length);
    memcpy(p->header + p->header_have, data, n);
    p->header_have += n;
    *used = n;
    if (p->header_have < FRAME_HEADER) return FRAME_MORE;
    p->length = get_u32(p->header);
    if (p->length > FRAME_MAX) return FRAME_BAD;
    p->payload_have = 0;
  }
  size_t n = min_size(p->length - p->payload_have, length - *used);
  memcpy(p->payload + p->payload_have, data + *used, n);
  p->payload_have += n;
  *used += n;
  if (p->payload_have < p->length) return FRAME_MORE;
  *frame = (struct frame){
      .type = p->header[4], .flags = p->header[5], .stream = get_u32(p->header + 8), .length = p->length, .payload = p->payload};
  frame_parser_reset(p);
  return FRAME_READY;
}

size_t frame_rest(const struct frame_parser *p, const uint8_t *data, size_t length) {
  if (p->header_have == FRAME_HEADER) return min_size(length, p->length - p->payload_have);
  if (p->header_have > 0 || length < FRAME_HEADER) return min_size(length, FRAME_HEADER - p->header_have);
  uint32_t size = get_u32(data);
  return size > FRAME_MAX ? FRAME_HEADER : min_size(length, FRAME_HEADER + size);
}

void frame_header(uint8_t out[FRAME_HEADER], const struct frame *frame) {
  put_u32(out, frame->length);
  out[4] = frame->type;
  out[5] = frame->flags;
  put_u16(out + 6, 0);
  put_u32(out + 8, frame->stream);
}

bool tlv_next(const uint8_t *payload, size_t length, size_t *at, struct tlv *entry, bool *bad) {
  if (*at == length) return false;
  if (length - *at < 4) {
    *bad = true;
    return false;
  }
  entry->tag = get_u16(payload + *at);
  entry->length = get_u16(payload + *at + 2);
  if (length - *at - 4 < entry->length) {
    *bad = true;
    return false;
  }
  entry->value = payload + *at + 4;
  *at += 4 + (size_t)entry->length;
  return true;
}

bool tlv_put(uint8_t *out, size_t size, size_t *length, uint16_t tag, const void *value, size_t value_length) {
  if (value_length > UINT16_MAX || size - *length < 4 + value_length) return false;
  put_u16(out + *length, tag);
  put_u16(out + *length + 2, (uint16_t)value_length);
  memcpy(out + *length + 4, value, value_length);
  *length += 4 + value_length;
  return true;
}
