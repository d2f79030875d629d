// The loop: signals, the way to the host, the streams.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "port.h"
#include "server.h"
#include "util.h"

#define FIXED_POLLS 3
#define MAX_POLLS (FIXED_POLLS + MAX_STREAMS * POLLS_PER_STREAM)
// A read of the port gives one page at most, so several are gathered before anything is parsed.
#define INPUT_SIZE (256 * 1024)
// A hello already under way makes the announcement needless; so long it has to arrive.
#define ANNOUNCE_MS 100
#define FAST_RETRY_MS 5
#define SLOW_RETRY_MS 100
#define FAST_PERIOD_MS 10000
// So long the host may take to read our last words, and a command that asked for the shutdown to end and be reported.
#define SHUTDOWN_FLUSH_MS 500
// So long the image's init may take until it can be asked to shut down.
#define INIT_START_MS 30000

// The way to the host. A port stays open while nobody listens at its other end (`up` is false then).
struct link {
  int fd, listener, signals;
  bool is_port, up;
  int64_t since, announce_at;
};

struct loop {
  struct server server;
  struct link link;
  uint8_t in[INPUT_SIZE];
  size_t in_start, in_length;
  int64_t shutdown_at;
  // Requests of the guest's own tools; -1 unless the agent is init.
  int initctl;
  bool guest_asked;
  bool (*child_ended)(pid_t pid, int status);
};

static void on_reset(void *owner) { streams_detach(owner); }

static void on_opened(void *owner) { info_send(owner); }

static void on_shutdown(struct server *server, const struct frame *frame) {
  uint8_t payload[4];
  uint8_t how = frame->length > 0 ? frame->payload[0] : 0;
  bool known = how == SHUTDOWN_POWEROFF || how == SHUTDOWN_REBOOT;
  put_u32(payload, known ? 0 : EINVAL);
  session_send(&server->session, &(struct frame){.type = FRAME_SHUTDOWN_ACK, .stream = frame->stream, .length = 4, .payload = payload});
  if (known) server->shutdown = how;
}

static bool on_frame(void *owner, const struct frame *frame) {
  struct server *server = owner;
  if (frame->type == FRAME_SHUTDOWN) {
    on_shutdown(server, frame);
    return true;
  }
  if (frame->type == FRAME_PING) {
    if (frame->length > 64) return false;
    session_send(&server->session,
        &(struct frame){.type = FRAME_PONG, .stream = frame->stream, .length = frame->length, .payload = frame->payload});
    return true;
  }
  return streams_frame(server, frame);
}

void server_init(struct server *server, const struct config *config, bool is_init) {
  static const struct session_events events = {.reset = on_reset, .opened = on_opened, .frame = on_frame};
  server->config = config;
  server->is_init = is_init;
  session_init(&server->session, config->token, &events, server);
}

static int open_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, 37, 38, 39};
  for (size_t i = 0; i < COUNT_OF(numbers); i++) sigaddset(&set, numbers[i]);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void guest_asks(struct loop *loop, enum shutdown_how how) {
  if (how == SHUTDOWN_NONE || loop->server.shutdown != SHUTDOWN_NONE) return;
  loop->server.shutdown = how;
  loop->guest_asked = true;
}

static void take_signals(struct loop *loop) {
  struct signalfd_siginfo info;
  struct server *server = &loop->server;
  while (read(loop->link.signals, &info, sizeof info) == (ssize_t)sizeof info) {
    int number = (int)info.ssi_signo;
    if (number == SIGCHLD || number == SIGHUP) continue;
    if (server->is_init)
      guest_asks(loop, shutdown_for_signal(number));
    else if (number == SIGTERM || number == SIGINT)
      _exit(0);
  }
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    if (!loop->child_ended || !loop->child_ended(pid, status)) streams_child_ended(server, pid, status);
}

static void link_down(struct loop *loop) {
  loop->link.up = false;
  loop->link.since = now_ms();
  loop->in_start = loop->in_length = 0;
  streams_detach(&loop->server);
  session_drop(&loop->server.session);
  if (!loop->link.is_port) close_fd(&loop->link.fd);
}

static void link_up(struct link *link) {
  link->up = true;
  link->announce_at = now_ms() + ANNOUNCE_MS;
}

// A port reports HUP all the time while no host is connected, so it is asked now and then instead of waited for.
static void try_port(struct link *link) {
  if (link->fd < 0) link->fd = port_open("banger.agent");
  struct pollfd fd = {.fd = link->fd, .events = POLLIN | POLLOUT};
  if (link->fd >= 0 && poll(&fd, 1, 0) >= 0 && !(fd.revents & (POLLHUP | POLLERR))) link_up(link);
}

static void try_accept(struct link *link) {
  link->fd = accept4(link->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (link->fd >= 0) link_up(link);
}

static void process_input(struct loop *loop) {
  struct session *session = &loop->server.session;
  while (loop->in_length > 0 && session_room(session) >= SESSION_RESERVE) {
    size_t n = session_input(session, loop->in + loop->in_start, loop->in_length);
    loop->in_start += n;
    loop->in_length -= n;
  }
}

static void link_read(struct loop *loop) {
  if (loop->in_length > 0) return;
  loop->in_start = 0;
  while (loop->in_length < sizeof loop->in) {
    ssize_t n = read(loop->link.fd, loop->in + loop->in_length, sizeof loop->in - loop->in_length);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      // What came before the end counts first; the end is seen again at the next turn.
      if (loop->in_length == 0) link_down(loop);
      return;
    }
    loop->in_length += (size_t)n;
  }
}

static void link_write(struct loop *loop) {
  size_t length;
  // A port takes 32 KiB at a time.
  for (;;) {
    const uint8_t *data = session_output(&loop->server.session, &length);
    if (length == 0 || !loop->link.up) return;
    ssize_t n = write(loop->link.fd, data, length);
    if (n < 0 && errno != EAGAIN && errno != EINTR) link_down(loop);
    if (n <= 0) return;
    session_taken(&loop->server.session, (size_t)n);
  }
}

static int min_timeout(int a, int b) { return a < 0 ? b : b < 0 || a < b ? a : b; }

static int loop_timeout(const struct loop *loop) {
  int timeout = streams_timeout(&loop->server);
  const struct link *link = &loop->link;
  if (!link->up && link->is_port) timeout = min_timeout(timeout, now_ms() - link->since < FAST_PERIOD_MS ? FAST_RETRY_MS : SLOW_RETRY_MS);
  if (link->up && loop->server.session.state == SESSION_LOST && link->announce_at > 0) timeout = min_timeout(timeout, ANNOUNCE_MS);
  if (loop->server.shutdown != SHUTDOWN_NONE) timeout = min_timeout(timeout, 10);
  return timeout;
}

static void announce_when_due(struct loop *loop) {
  struct session *session = &loop->server.session;
  struct link *link = &loop->link;
  if (!link->up || link->announce_at == 0) return;
  if (session->state == SESSION_LOST && now_ms() < link->announce_at) return;
  if (session->state == SESSION_LOST) session_announce(session);
  link->announce_at = 0;
}

static void shut_down_when_due(struct loop *loop) {
  struct server *server = &loop->server;
  if (server->shutdown == SHUTDOWN_NONE) return;
  size_t length;
  session_output(&server->session, &length);
  if (loop->shutdown_at == 0) loop->shutdown_at = now_ms() + SHUTDOWN_FLUSH_MS;
  bool busy = length > 0 || (loop->guest_asked && !streams_idle(server));
  if (busy && loop->link.up && now_ms() < loop->shutdown_at) return;
  if (!server->is_init && !shutdown_image_ready() && now_ms() < loop->shutdown_at + INIT_START_MS) return;
  enum shutdown_how how = server->shutdown;
  server->shutdown = SHUTDOWN_NONE;
  loop->shutdown_at = 0;
  if (server->is_init) shutdown_machine(how);
  shutdown_image(how);
}

static void turn(struct loop *loop) {
  struct pollfd fds[MAX_POLLS];
  struct poll_owner owners[MAX_POLLS];
  struct link *link = &loop->link;
  size_t output;
  session_output(&loop->server.session, &output);
  short events = (short)((loop->in_length == 0 ? POLLIN : 0) | (output > 0 ? POLLOUT : 0));
  fds[0] = (struct pollfd){.fd = link->signals, .events = POLLIN};
  fds[1] = (struct pollfd){.fd = link->up ? link->fd : link->is_port ? -1 : link->listener, .events = link->up ? events : POLLIN};
  if (link->up && events == 0) fds[1].fd = -1;
  fds[2] = (struct pollfd){.fd = loop->initctl, .events = POLLIN};
  size_t count = streams_poll(&loop->server, fds + FIXED_POLLS, owners);
  int ready = poll(fds, FIXED_POLLS + count, loop_timeout(loop));
  if (ready > 0) {
    // First the streams: the input below may free some.
    streams_ready(&loop->server, fds + FIXED_POLLS, owners, count);
    if (fds[0].revents) take_signals(loop);
    if (fds[2].revents) guest_asks(loop, initctl_take(loop->initctl));
  }
  if (!link->up) {
    if (link->is_port)
      try_port(link);
    else if (ready > 0 && fds[1].revents)
      try_accept(link);
  } else if (ready > 0 && fds[1].revents & (POLLHUP | POLLERR)) {
    link_down(loop);
  } else if (ready > 0 && fds[1].revents & POLLIN) {
    link_read(loop);
  }
  process_input(loop);
  streams_settle(&loop->server);
  announce_when_due(loop);
  link_write(loop);
  shut_down_when_due(loop);
}

static void adopt_socket(struct link *link, int fd) {
  int accepting = 0;
  socklen_t size = sizeof accepting;
  getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &size);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  set_nonblocking(fd);
  if (accepting) {
    link->listener = fd;
  } else {
    link->fd = fd;
    link_up(link);
  }
}

int serve(const struct config *config, const struct serve_options *options) {
  struct loop *loop = must_alloc(sizeof *loop);
  server_init(&loop->server, config, options->is_init);
  loop->link = (struct link){.fd = -1, .listener = -1, .is_port = options->fd < 0, .since = now_ms()};
  loop->link.signals = open_signals();
  loop->child_ended = options->child_ended;
  loop->initctl = options->is_init ? initctl_open(INITCTL_PATH) : -1;
  if (options->fd >= 0) adopt_socket(&loop->link, options->fd);
  const struct link *link = &loop->link;
  // Only a single given connection can be used up.
  while (link->is_port || link->listener >= 0 || link->up || !streams_idle(&loop->server)) turn(loop);
  free(loop);
  return 0;
}
