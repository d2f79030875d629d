#define _GNU_SOURCE
#include "opening.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "dial.h"
#include "exec.h"
#include "listen.h"
#include "opener.h"
#include "util.h"

// What only time mends: no descriptors, no memory.
#define ACCEPT_REST_MS 100

static void open_exec(struct server *server, struct stream *stream, const struct frame *frame) {
  struct exec_request request;
  const char *error = "the exec request is malformed";
  errno = EINVAL;
  bool parsed = exec_request_parse(&request, frame->payload, frame->length);
  if (parsed && exec_start(stream, &request, server->config, &error)) {
    send_u32(server, FRAME_OPENED, stream->id, 0, (uint32_t)stream->pid);
  } else {
    send_failed(server, stream->id, errno, error);
    streams_drop(server, stream);
  }
  if (parsed) exec_request_free(&request);
}

static void open_target(struct server *server, struct stream *stream, const struct frame *frame) {
  struct target_request request;
  bool listens = stream->kind == STREAM_LISTEN;
  const char *error = "the request is malformed";
  errno = EINVAL;
  bool ok = target_request_parse(&request, frame->payload, frame->length, listens);
  ok = ok && (listens ? listen_start(stream, &request, &error) : dial_start(stream, &request, &error));
  if (!ok) {
    send_failed(server, stream->id, errno, error);
    streams_drop(server, stream);
  } else if (stream->opened) {
    send_u32(server, FRAME_OPENED, stream->id, 0, stream->port);
  }
}

void opening_begin(struct server *server, const struct frame *frame) {
  enum stream_kind kind = frame->type == FRAME_EXEC ? STREAM_EXEC : frame->type == FRAME_DIAL ? STREAM_DIAL : STREAM_LISTEN;
  struct stream *stream = streams_add(server, frame->stream, kind);
  if (!stream)
    send_failed(server, frame->stream, EMFILE, "too many streams");
  else if (kind == STREAM_EXEC)
    open_exec(server, stream, frame);
  else
    open_target(server, stream, frame);
}

static void finish(struct server *server, struct stream *stream, int reason, const char *message) {
  if (reason == 0) {
    send_u32(server, FRAME_OPENED, stream->id, 0, stream->port);
    stream_flush(stream);
    return;
  }
  send_failed(server, stream->id, reason, message);
  streams_drop(server, stream);
}

static void take_opened(struct server *server, struct stream *stream) {
  struct opener_reply reply = {0};
  int fd = opener_take(stream, &reply);
  if (fd < 0 && reply.reason == OPENER_PENDING) return;
  bool listens = stream->kind == STREAM_LISTEN;
  stream->opener.due = 0;
  if (fd >= 0 && listens) {
    stream->listeners[0] = fd;
    stream->opened = set_nonblocking(fd);
  } else if (fd >= 0) {
    stream_adopt(stream, fd);
  }
  if (fd >= 0 && !stream->opened) reply = (struct opener_reply){.reason = errno, .message = "cannot take the descriptor"};
  // Of a listener's opener the end of this socket asks for the file's removal.
  if (!listens) close_fd(&stream->opener.fd);
  finish(server, stream, reply.reason, reply.message);
}

void opening_continue(struct server *server, struct stream *stream) {
  if (stream->opener.due > 0) {
    take_opened(server, stream);
    return;
  }
  dial_continue(stream);
  if (!stream->connecting) finish(server, stream, stream->failure, strerror(stream->failure));
}

bool opening_timed_out(struct server *server, const struct stream *stream) {
  if (stream->opener.pid > 0) kill(stream->opener.pid, SIGKILL);
  send_failed(server, stream->id, ETIMEDOUT, "the guest took too long");
  return true;
}

static void announce(struct server *server, uint32_t listener, uint32_t id, const struct peer *peer) {
  uint8_t payload[128], number[4], port[2];
  size_t length = 0;
  put_u32(number, id);
  tlv_put(payload, sizeof payload, &length, TAG_STREAM, number, sizeof number);
  if (peer->host[0]) {
    put_u16(port, peer->port);
    tlv_put(payload, sizeof payload, &length, TAG_HOST, peer->host, strlen(peer->host));
    tlv_put(payload, sizeof payload, &length, TAG_PORT, port, sizeof port);
  }
  send_control(server, &(struct frame){.type = FRAME_ACCEPTED, .stream = listener, .length = (uint32_t)length, .payload = payload});
}

void opening_accept(struct server *server, const struct stream *listener, int which) {
  struct peer peer;
  // Other listeners may have taken what was free when this turn began.
  if (!streams_may_accept(server)) return;
  int fd = listen_accept(listener, which, &peer);
  if (fd < 0) {
    bool lacking = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (lacking) server->accept_after = now_ms() + ACCEPT_REST_MS;
    return;
  }
  struct stream *stream = streams_add(server, streams_accepted_id(server), STREAM_DIAL);
  if (!stream) {
    close_fd(&fd);
    return;
  }
  if (!stream_adopt(stream, fd)) {
    streams_drop(server, stream);
    server->accept_after = now_ms() + ACCEPT_REST_MS;
    return;
  }
  announce(server, listener->id, stream->id, &peer);
}
