// One byte stream to the host that knows no connections: resynchronisation by token and nonce, frames, bounded output.
#ifndef BANGER_SESSION_H
#define BANGER_SESSION_H
#include "config.h"
#include "frame.h"

#define NONCE_SIZE 16
// Data frames leave `SESSION_RESERVE` of the output free, so that an answer to a request always fits.
#define SESSION_OUT (256 * 1024)
#define SESSION_RESERVE (64 * 1024)
// No control frame of the agent is larger.
#define CONTROL_MAX 8192

enum session_state { SESSION_LOST, SESSION_NONCE, SESSION_OPEN };

struct session;
struct session_events {
  // A host said hello: forget everything of the one before. The answer is written after this returns.
  void (*reset)(void *owner);
  // The answer is in the output; frames may follow it.
  void (*opened)(void *owner);
  // false: the host broke the protocol; the session is given up until its next hello.
  bool (*frame)(void *owner, const struct frame *frame);
};

struct session {
  uint8_t token[TOKEN_SIZE];
  uint8_t fallback[TOKEN_SIZE];
  size_t matched;
  enum session_state state;
  uint8_t nonce[NONCE_SIZE];
  size_t nonce_have;
  struct frame_parser parser;
  const struct session_events *events;
  void *owner;
  size_t out_start, out_length;
  uint8_t out[SESSION_OUT];
};

void session_init(struct session *s, const uint8_t token[TOKEN_SIZE], const struct session_events *events, void *owner);
// Says "an agent starts here": the token and a nonce of zeros. The host answers with its hello.
void session_announce(struct session *s);
// The stream under it is gone: no session, and nothing to say to whom was there.
void session_drop(struct session *s);
// Takes what belongs to one frame, or SESSION_SLICE bytes while there is no session: so little that the answers to it fit SESSION_RESERVE. Returns
// how much that was; at least one byte when there is any.
#define SESSION_SLICE 2048
size_t session_input(struct session *s, const uint8_t *data, size_t length);
size_t session_room(const struct session *s);
// Appends a frame; false when it does not fit (never for control frames while SESSION_RESERVE is kept).
bool session_send(struct session *s, const struct frame *frame);
// Place for the payload of a DATA frame of up to `size` bytes behind its header, or NULL. `session_commit` completes it.
uint8_t *session_reserve(struct session *s, size_t size);
void session_commit(struct session *s, const struct frame *frame);
// Output not yet taken, contiguous; `session_taken` says how much of it went out.
const uint8_t *session_output(const struct session *s, size_t *length);
void session_taken(struct session *s, size_t length);
#endif
