#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dial.h"
#include "exec.h"
#include "pty.h"
#include "server.h"
#include "util.h"

// One turn's read: small enough that others wait little, large enough for speed.
#define CHUNK (32 * 1024)
// A command has ended but something it left behind holds its output open: so long silence ends the stream.
#define DRAIN_MS 200
// Tell the host when this much was taken; more often would only cost frames.
#define WINDOW_STEP (STREAM_WINDOW / 4)

static void send_control(struct server *server, const struct frame *frame) {
  if (!session_send(&server->session, frame)) say("frame of type %u does not fit", frame->type);
}

static void send_u32(struct server *server, uint8_t type, uint32_t stream, uint8_t flags, uint32_t value) {
  uint8_t payload[4];
  put_u32(payload, value);
  send_control(server, &(struct frame){.type = type, .flags = flags, .stream = stream, .length = 4, .payload = payload});
}

static void send_failed(struct server *server, uint32_t stream, int reason, const char *message) {
  uint8_t payload[512], number[4];
  size_t length = 0;
  put_u32(number, (uint32_t)reason);
  tlv_put(payload, sizeof payload, &length, TAG_ERRNO, number, sizeof number);
  tlv_put(payload, sizeof payload, &length, TAG_MESSAGE, message, strnlen(message, 256));
  send_control(server, &(struct frame){.type = FRAME_FAILED, .stream = stream, .length = (uint32_t)length, .payload = payload});
}

static struct stream *find_stream(struct server *server, uint32_t id) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i] && server->streams[i]->attached && server->streams[i]->id == id) return server->streams[i];
  return NULL;
}

static void drop_stream(struct server *server, size_t slot) {
  stream_free(server->streams[slot]);
  server->streams[slot] = NULL;
}

static struct stream *open_stream(struct server *server, uint32_t id, enum stream_kind kind) {
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    if (server->streams[i]) continue;
    server->streams[i] = stream_new(id, kind);
    return server->streams[i];
  }
  return NULL;
}

static void discard_stream(struct server *server, const struct stream *stream) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i] == stream) drop_stream(server, i);
}

static bool open_exec(struct server *server, const struct frame *frame) {
  struct exec_request request;
  const char *error = "";
  if (!exec_request_parse(&request, frame->payload, frame->length)) {
    send_failed(server, frame->stream, EINVAL, "the exec request is malformed");
    return true;
  }
  struct stream *stream = open_stream(server, frame->stream, STREAM_EXEC);
  if (!stream) {
    send_failed(server, frame->stream, EMFILE, "too many streams");
  } else if (!exec_start(stream, &request, server->config, &error)) {
    send_failed(server, frame->stream, errno, error);
    discard_stream(server, stream);
  } else {
    send_u32(server, FRAME_OPENED, frame->stream, 0, (uint32_t)stream->pid);
  }
  exec_request_free(&request);
  return true;
}

static bool open_dial(struct server *server, const struct frame *frame) {
  struct dial_request request;
  if (!dial_request_parse(&request, frame->payload, frame->length)) {
    send_failed(server, frame->stream, EINVAL, "the dial request is malformed");
    return true;
  }
  struct stream *stream = open_stream(server, frame->stream, STREAM_DIAL);
  if (!stream) {
    send_failed(server, frame->stream, EMFILE, "too many streams");
  } else if (!dial_start(stream, &request)) {
    send_failed(server, frame->stream, errno, strerror(errno));
    discard_stream(server, stream);
  }
  return true;
}

static bool add_credit(struct stream *stream, const struct frame *frame) {
  if (frame->length != 4 || frame->flags > 1) return false;
  uint32_t more = get_u32(frame->payload);
  struct channel *channel = &stream->out[frame->flags];
  if (more > STREAM_WINDOW || channel->credit > STREAM_WINDOW - more) return false;
  channel->credit += more;
  return true;
}

// The host has let go of it; an exec goes on until its group has ended, but nobody listens.
static void abandon(struct server *server, struct stream *stream) {
  if (stream->kind == STREAM_DIAL) {
    discard_stream(server, stream);
    return;
  }
  stream_detach(stream);
}

static bool stream_frame(struct server *server, struct stream *stream, const struct frame *frame) {
  bool is_exec = stream->kind == STREAM_EXEC;
  switch (frame->type) {
    case FRAME_DATA:
      return frame->flags == 0 && stream_write(stream, frame->payload, frame->length);
    case FRAME_EOF:
      stream_end_input(stream);
      return true;
    case FRAME_WINDOW:
      return add_credit(stream, frame);
    case FRAME_RESIZE:
      if (frame->length != 4) return false;
      if (stream->tty && stream->out[0].fd >= 0) pty_resize(stream->out[0].fd, get_u16(frame->payload), get_u16(frame->payload + 2));
      return true;
    case FRAME_SIGNAL: {
      if (frame->length != 4) return false;
      uint32_t number = get_u32(frame->payload);
      if (is_exec && !stream->exited && number > 0 && number < 65) stream_signal(stream, (int)number);
      return true;
    }
    case FRAME_HANGUP:
      if (is_exec) stream_hangup(stream);
      return true;
    case FRAME_CLOSE:
      abandon(server, stream);
      return true;
    default:
      return true;
  }
}

bool streams_frame(struct server *server, const struct frame *frame) {
  if (frame->type == FRAME_EXEC || frame->type == FRAME_DIAL) {
    if (frame->stream == 0 || find_stream(server, frame->stream)) return false;
    return frame->type == FRAME_EXEC ? open_exec(server, frame) : open_dial(server, frame);
  }
  // Frames for a stream that ended meanwhile crossed its end on the way.
  struct stream *stream = find_stream(server, frame->stream);
  return !stream || stream_frame(server, stream, frame);
}

void streams_detach(struct server *server) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i] && server->streams[i]->attached) abandon(server, server->streams[i]);
}

static bool may_send_data(const struct server *server) {
  return server->session.state == SESSION_OPEN && session_room(&server->session) >= SESSION_RESERVE + FRAME_HEADER + CHUNK;
}

static bool wants_read(const struct stream *stream, int channel) {
  return stream->attached && stream->out[channel].fd >= 0 && stream->out[channel].credit > 0;
}

size_t streams_poll(struct server *server, struct pollfd *fds, struct poll_owner *owners) {
  size_t count = 0;
  bool room = may_send_data(server);
  // `streams_ready` serves in this order until the output is full.
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    size_t slot = (server->turn + i) % MAX_STREAMS;
    struct stream *stream = server->streams[slot];
    if (!stream) continue;
    for (int channel = 0; room && channel < 2; channel++) {
      if (!wants_read(stream, channel)) continue;
      owners[count] = (struct poll_owner){stream, slot, channel};
      fds[count++] = (struct pollfd){.fd = stream->out[channel].fd, .events = POLLIN};
    }
    if (!stream_wants_write(stream)) continue;
    owners[count] = (struct poll_owner){stream, slot, 2};
    fds[count++] = (struct pollfd){.fd = stream->in_fd, .events = POLLOUT};
  }
  return count;
}

static void end_channel(struct server *server, struct stream *stream, int channel) {
  close_fd(&stream->out[channel].fd);
  stream->out[channel].end_due = true;
  if (stream->attached) send_control(server, &(struct frame){.type = FRAME_EOF, .flags = (uint8_t)channel, .stream = stream->id});
}

// One chunk of one channel into the output.
static void read_channel(struct server *server, struct stream *stream, int channel) {
  struct channel *out = &stream->out[channel];
  size_t size = out->credit < CHUNK ? out->credit : CHUNK;
  uint8_t *place = session_reserve(&server->session, size);
  if (!place) return;
  ssize_t n = read(out->fd, place, size);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    // EIO is how a terminal says that its last user is gone.
    if (n < 0 && stream->kind == STREAM_DIAL) stream->reset = true;
    end_channel(server, stream, channel);
    return;
  }
  out->credit -= (uint32_t)n;
  session_commit(&server->session, &(struct frame){.type = FRAME_DATA, .flags = (uint8_t)channel, .stream = stream->id, .length = (uint32_t)n});
  if (stream->exited) stream->drain_until = now_ms() + DRAIN_MS;
}

static void continue_dial(struct server *server, struct stream *stream) {
  dial_continue(stream);
  if (stream->connecting) return;
  if (stream->opened) {
    send_u32(server, FRAME_OPENED, stream->id, 0, 0);
    stream_flush(stream);
    return;
  }
  send_failed(server, stream->id, stream->failure, strerror(stream->failure));
  discard_stream(server, stream);
}

void streams_ready(struct server *server, const struct pollfd *fds, const struct poll_owner *owners, size_t count) {
  size_t next_turn = server->turn;
  for (size_t i = 0; i < count; i++) {
    struct stream *stream = owners[i].stream;
    if (fds[i].revents == 0) continue;
    if (owners[i].what < 2) {
      if (!may_send_data(server) || !wants_read(stream, owners[i].what)) continue;
      read_channel(server, stream, owners[i].what);
      next_turn = (owners[i].slot + 1) % MAX_STREAMS;
    } else if (stream->connecting) {
      // The only place that frees a stream here; a dial has no other entry in the list before it is connected.
      continue_dial(server, stream);
    } else {
      stream_flush(stream);
    }
  }
  server->turn = next_turn;
}

void streams_child_ended(struct server *server, pid_t pid, int status) {
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    struct stream *stream = server->streams[i];
    if (!stream || stream->kind != STREAM_EXEC || stream->pid != pid || stream->exited) continue;
    stream->exited = true;
    stream->status = status;
    stream->drain_until = now_ms() + DRAIN_MS;
    return;
  }
}

static void send_exit(struct server *server, const struct stream *stream) {
  uint8_t payload[8];
  bool signaled = WIFSIGNALED(stream->status);
  put_u32(payload, signaled);
  put_u32(payload + 4, (uint32_t)(signaled ? WTERMSIG(stream->status) : WEXITSTATUS(stream->status)));
  send_control(server, &(struct frame){.type = FRAME_EXIT, .stream = stream->id, .length = sizeof payload, .payload = payload});
}

// Whether silence has lasted: only while the host would have let us read.
static bool is_drained(const struct server *server, struct stream *stream) {
  bool open = false;
  for (int channel = 0; channel < 2; channel++) {
    if (stream->out[channel].fd < 0) continue;
    open = true;
    if (stream->out[channel].credit == 0 || !may_send_data(server)) stream->drain_until = now_ms() + DRAIN_MS;
  }
  return !open || now_ms() >= stream->drain_until;
}

static bool group_is_gone(const struct stream *stream) { return kill(-stream->pid, 0) < 0 && errno == ESRCH; }

// true when the exec is over and may be freed.
static bool settle_exec(struct server *server, struct stream *stream) {
  if (stream->kill_at > 0 && now_ms() >= stream->kill_at) {
    kill(-stream->pid, SIGKILL);
    stream->kill_at = INT64_MAX;
  }
  if (!stream->exited) return false;
  // Its leader heeded HUP but others of the group may not have.
  bool group_pending = stream->kill_at > 0 && stream->kill_at < INT64_MAX && !group_is_gone(stream);
  if (!stream->attached) return !group_pending;
  if (!is_drained(server, stream)) return false;
  for (int channel = 0; channel < 2; channel++)
    if (!stream->out[channel].end_due) end_channel(server, stream, channel);
  // What the command left running goes on, as after a remote shell; only a hang-up ends the whole group.
  send_exit(server, stream);
  stream->attached = false;
  close_fd(&stream->in_fd);
  return !group_pending;
}

static bool settle_dial(struct server *server, struct stream *stream) {
  if (!stream->opened || (!stream->reset && !(stream->out[0].end_due && stream->in_done))) return false;
  send_u32(server, FRAME_CLOSE, stream->id, 0, stream->reset ? ECONNRESET : 0);
  return true;
}

void streams_settle(struct server *server) {
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    struct stream *stream = server->streams[i];
    if (!stream || session_room(&server->session) < CONTROL_MAX) continue;
    if (stream->attached && stream->in_taken >= WINDOW_STEP) {
      send_u32(server, FRAME_WINDOW, stream->id, 0, stream->in_taken);
      stream->in_window += stream->in_taken;
      stream->in_taken = 0;
    }
    if (stream->kind == STREAM_EXEC ? settle_exec(server, stream) : settle_dial(server, stream)) drop_stream(server, i);
  }
}

int streams_timeout(const struct server *server) {
  int64_t due = INT64_MAX;
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    const struct stream *stream = server->streams[i];
    if (!stream || stream->kind != STREAM_EXEC) continue;
    if (stream->kill_at > 0 && stream->kill_at < due) due = stream->kill_at;
    if (stream->exited && stream->attached && stream->drain_until < due) due = stream->drain_until;
  }
  if (due == INT64_MAX) return -1;
  int64_t left = due - now_ms();
  return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

bool streams_idle(const struct server *server) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i]) return false;
  return true;
}
