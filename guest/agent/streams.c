#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "opening.h"
#include "pty.h"
#include "server.h"
#include "util.h"

// One turn's read: small enough that others wait little, large enough for speed.
#define CHUNK (32 * 1024)
// A turn costs more than reading a chunk, so who has much is read more than once.
#define CHUNKS_A_TURN 4
// A command has ended but something it left behind holds its output open: so long silence ends the stream.
#define DRAIN_MS 200
// Tell the host when this much was taken; more often would only cost frames.
#define WINDOW_STEP (STREAM_WINDOW / 4)

static struct stream *find_stream(struct server *server, uint32_t id) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i] && server->streams[i]->attached && server->streams[i]->id == id) return server->streams[i];
  return NULL;
}

static void drop_stream(struct server *server, size_t slot) {
  stream_free(server->streams[slot]);
  server->streams[slot] = NULL;
}

struct stream *streams_add(struct server *server, uint32_t id, enum stream_kind kind) {
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    if (server->streams[i]) continue;
    server->streams[i] = stream_new(id, kind);
    return server->streams[i];
  }
  return NULL;
}

void streams_drop(struct server *server, const struct stream *stream) {
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i] == stream) drop_stream(server, i);
}

uint32_t streams_accepted_id(struct server *server) {
  do server->last_accepted = FIRST_ACCEPTED + (server->last_accepted + 1) % FIRST_ACCEPTED;
  while (find_stream(server, server->last_accepted));
  return server->last_accepted;
}

bool streams_may_accept(const struct server *server) {
  size_t count = 0;
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server->streams[i]) count++;
  return count < MAX_STREAMS - KEPT_FOR_HOST;
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
  if (stream->kind == STREAM_EXEC)
    stream_detach(stream);
  else
    streams_drop(server, stream);
}

static bool stream_frame(struct server *server, struct stream *stream, const struct frame *frame) {
  bool is_exec = stream->kind == STREAM_EXEC;
  if (stream->kind == STREAM_LISTEN) {
    if (frame->type != FRAME_CLOSE) return true;
    abandon(server, stream);
    // From here on the host need not expect connections of it.
    send_u32(server, FRAME_CLOSE, frame->stream, 0, 0);
    return true;
  }
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
  if (frame->type == FRAME_EXEC || frame->type == FRAME_DIAL || frame->type == FRAME_LISTEN) {
    if (frame->stream == 0 || frame->stream >= FIRST_ACCEPTED || find_stream(server, frame->stream)) return false;
    opening_begin(server, frame);
    return true;
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

// What a stream waits for before it has data, or instead of having any.
static size_t poll_openings(const struct stream *stream, bool may_accept, struct pollfd *fds, int *whats) {
  size_t count = 0;
  if (stream->opener.due > 0) {
    whats[count] = POLL_OPENER;
    fds[count++] = (struct pollfd){.fd = stream->opener.fd, .events = POLLIN};
  }
  for (int i = 0; may_accept && i < 2; i++) {
    if (stream->listeners[i] < 0) continue;
    whats[count] = POLL_LISTENER + i;
    fds[count++] = (struct pollfd){.fd = stream->listeners[i], .events = POLLIN};
  }
  return count;
}

size_t streams_poll(struct server *server, struct pollfd *fds, struct poll_owner *owners) {
  size_t count = 0;
  bool room = may_send_data(server);
  // Otherwise connections wait in the kernel's queue.
  bool may_accept = room && streams_may_accept(server) && now_ms() >= server->accept_after;
  // `streams_ready` serves in this order until the output is full.
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    size_t slot = (server->turn + i) % MAX_STREAMS;
    struct stream *stream = server->streams[slot];
    if (!stream) continue;
    int whats[POLLS_PER_STREAM];
    for (size_t n = poll_openings(stream, may_accept, fds + count, whats), k = 0; k < n; k++) owners[count++] = (struct poll_owner){stream, slot, whats[k]};
    for (int channel = 0; room && channel < 2; channel++) {
      if (!wants_read(stream, channel)) continue;
      owners[count] = (struct poll_owner){stream, slot, channel};
      fds[count++] = (struct pollfd){.fd = stream->out[channel].fd, .events = POLLIN};
    }
    if (!stream_wants_write(stream)) continue;
    owners[count] = (struct poll_owner){stream, slot, POLL_INPUT};
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
// One chunk. true: there may be more.
static bool read_channel(struct server *server, struct stream *stream, int channel) {
  struct channel *out = &stream->out[channel];
  size_t size = out->credit < CHUNK ? out->credit : CHUNK;
  uint8_t *place = session_reserve(&server->session, size);
  if (!place) return false;
  ssize_t n = read(out->fd, place, size);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    // EIO is how a terminal says that its last user is gone.
    if (n < 0 && stream->kind == STREAM_DIAL) stream->reset = true;
    end_channel(server, stream, channel);
    return false;
  }
  out->credit -= (uint32_t)n;
  session_commit(&server->session, &(struct frame){.type = FRAME_DATA, .flags = (uint8_t)channel, .stream = stream->id, .length = (uint32_t)n});
  if (stream->exited) stream->drain_until = now_ms() + DRAIN_MS;
  return (size_t)n == size;
}

void streams_ready(struct server *server, const struct pollfd *fds, const struct poll_owner *owners, size_t count) {
  size_t next_turn = server->turn;
  for (size_t i = 0; i < count; i++) {
    struct stream *stream = owners[i].stream;
    if (fds[i].revents == 0) continue;
    if (owners[i].what < POLL_INPUT) {
      if (!may_send_data(server) || !wants_read(stream, owners[i].what)) continue;
      for (int n = 0; n < CHUNKS_A_TURN && may_send_data(server) && wants_read(stream, owners[i].what); n++)
        if (!read_channel(server, stream, owners[i].what)) break;
      next_turn = (owners[i].slot + 1) % MAX_STREAMS;
    } else if (owners[i].what >= POLL_LISTENER) {
      if (may_send_data(server)) opening_accept(server, stream, owners[i].what - POLL_LISTENER);
    } else if (owners[i].what == POLL_OPENER || stream->connecting) {
      // The only place that frees a stream here; it has no other entry in the list before it is open.
      if (session_room(&server->session) >= CONTROL_MAX) opening_continue(server, stream);
    } else {
      stream_flush(stream);
    }
  }
  server->turn = next_turn;
}

void streams_child_ended(struct server *server, pid_t pid, int status) {
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    struct stream *stream = server->streams[i];
    // Its number may be another's from now on.
    if (stream && stream->opener.pid == pid) stream->opener.pid = 0;
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

static bool settle_socket(struct server *server, struct stream *stream) {
  if (stream->opener.due > 0 && now_ms() >= stream->opener.due) return opening_timed_out(server, stream);
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
    if (stream->kind == STREAM_EXEC ? settle_exec(server, stream) : settle_socket(server, stream)) drop_stream(server, i);
  }
}

int streams_timeout(const struct server *server) {
  int64_t due = INT64_MAX;
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    const struct stream *stream = server->streams[i];
    if (!stream) continue;
    if (stream->opener.due > 0 && stream->opener.due < due) due = stream->opener.due;
    if (stream->kind == STREAM_LISTEN && server->accept_after > now_ms() && server->accept_after < due) due = server->accept_after;
    if (stream->kind != STREAM_EXEC) continue;
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
