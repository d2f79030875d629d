#include "session.h"

#include <string.h>

#include "util.h"

// Knuth-Morris-Pratt table: how much of the token still fits after a mismatch.
static void build_fallback(struct session *s) {
  size_t k = 0;
  s->fallback[0] = 0;
  for (size_t i = 1; i < TOKEN_SIZE; i++) {
    while (k > 0 && s->token[i] != s->token[k]) k = s->fallback[k - 1];
    if (s->token[i] == s->token[k]) k++;
    s->fallback[i] = (uint8_t)k;
  }
}

void session_init(struct session *s, const uint8_t token[TOKEN_SIZE], const struct session_events *events, void *owner) {
  memcpy(s->token, token, TOKEN_SIZE);
  build_fallback(s);
  s->matched = 0;
  s->events = events;
  s->owner = owner;
  s->state = SESSION_LOST;
  s->out_start = s->out_length = 0;
  frame_parser_reset(&s->parser);
}

static void append(struct session *s, const void *data, size_t length) {
  memcpy(s->out + s->out_start + s->out_length, data, length);
  s->out_length += length;
}

static void clear_output(struct session *s) { s->out_start = s->out_length = 0; }

void session_announce(struct session *s) {
  static const uint8_t zeros[NONCE_SIZE];
  clear_output(s);
  append(s, s->token, TOKEN_SIZE);
  append(s, zeros, NONCE_SIZE);
}

void session_drop(struct session *s) {
  s->state = SESSION_LOST;
  s->matched = 0;
  clear_output(s);
  frame_parser_reset(&s->parser);
}

// Where the token ends in `data`: bytes up to and including its last one, or 0. Remembers a part at the end of the data.
static size_t find_token(struct session *s, const uint8_t *data, size_t length) {
  size_t i = 0;
  while (i < length) {
    if (s->matched == 0) {
      const uint8_t *first = memchr(data + i, s->token[0], length - i);
      if (!first) return 0;
      i = (size_t)(first - data);
    }
    while (s->matched > 0 && data[i] != s->token[s->matched]) s->matched = s->fallback[s->matched - 1];
    if (data[i] == s->token[s->matched]) s->matched++;
    i++;
    if (s->matched == TOKEN_SIZE) {
      s->matched = 0;
      return i;
    }
  }
  return 0;
}

static void begin_hello(struct session *s) {
  s->state = SESSION_NONCE;
  s->nonce_have = 0;
  clear_output(s);
  frame_parser_reset(&s->parser);
  s->events->reset(s->owner);
}

static size_t take_nonce(struct session *s, const uint8_t *data, size_t length) {
  size_t n = NONCE_SIZE - s->nonce_have;
  if (n > length) n = length;
  memcpy(s->nonce + s->nonce_have, data, n);
  s->nonce_have += n;
  if (s->nonce_have < NONCE_SIZE) return n;
  s->state = SESSION_OPEN;
  append(s, s->token, TOKEN_SIZE);
  append(s, s->nonce, NONCE_SIZE);
  s->events->opened(s->owner);
  return n;
}

static void take_frames(struct session *s, const uint8_t *data, size_t length) {
  while (length > 0) {
    size_t used = 0;
    struct frame frame;
    enum frame_result result = frame_parse(&s->parser, data, length, &used, &frame);
    data += used;
    length -= used;
    if (result == FRAME_MORE) return;
    if (result == FRAME_READY && s->events->frame(s->owner, &frame)) continue;
    say("the host broke the protocol; waiting for its next hello");
    s->events->reset(s->owner);
    s->state = SESSION_LOST;
    session_announce(s);
    return;
  }
}

static void take_bytes(struct session *s, const uint8_t *data, size_t length) {
  if (s->state == SESSION_NONCE) {
    size_t used = take_nonce(s, data, length);
    data += used;
    length -= used;
  }
  if (s->state == SESSION_OPEN) take_frames(s, data, length);
}

size_t session_input(struct session *s, const uint8_t *data, size_t length) {
  size_t n = length < SESSION_SLICE ? length : SESSION_SLICE;
  if (s->state == SESSION_OPEN) n = frame_rest(&s->parser, data, length);
  // The token is looked for beside the parsing, not before it: a frame that ends like the token begins must not wait.
  size_t end = find_token(s, data, n);
  if (end == 0) {
    take_bytes(s, data, n);
    return n;
  }
  // What came before the token is a frame or a part of one that nobody waits for any more; its bytes need no parsing.
  begin_hello(s);
  return end;
}

size_t session_room(const struct session *s) { return SESSION_OUT - s->out_length; }

static void compact(struct session *s) {
  if (s->out_start == 0) return;
  memmove(s->out, s->out + s->out_start, s->out_length);
  s->out_start = 0;
}

uint8_t *session_reserve(struct session *s, size_t size) {
  if (session_room(s) < FRAME_HEADER + size) return NULL;
  if (SESSION_OUT - s->out_start - s->out_length < FRAME_HEADER + size) compact(s);
  return s->out + s->out_start + s->out_length + FRAME_HEADER;
}

void session_commit(struct session *s, const struct frame *frame) {
  frame_header(s->out + s->out_start + s->out_length, frame);
  s->out_length += FRAME_HEADER + frame->length;
}

bool session_send(struct session *s, const struct frame *frame) {
  uint8_t *payload = session_reserve(s, frame->length);
  if (!payload) return false;
  if (frame->length > 0) memcpy(payload, frame->payload, frame->length);
  session_commit(s, frame);
  return true;
}

const uint8_t *session_output(const struct session *s, size_t *length) {
  *length = s->out_length;
  return s->out + s->out_start;
}

void session_taken(struct session *s, size_t length) {
  s->out_start += length;
  s->out_length -= length;
  if (s->out_length == 0) s->out_start = 0;
}
