// The streams of one session and the loop that serves them.
#ifndef BANGER_SERVER_H
#define BANGER_SERVER_H
#include <poll.h>

#include "config.h"
#include "session.h"
#include "stream.h"

enum shutdown_how { SHUTDOWN_NONE, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT };

struct server {
  struct session session;
  const struct config *config;
  struct stream *streams[MAX_STREAMS];
  // Slot from which the next round of reading begins: the one after who was served last.
  size_t turn;
  // Number of the stream that a listener gave last.
  uint32_t last_accepted;
  // Listeners rest until then: the system lacked descriptors or memory.
  int64_t accept_after;
  // PID 1 of the guest: every orphan is ours to reap, and shutting down is our work.
  bool is_init;
  enum shutdown_how shutdown;
};

void server_init(struct server *server, const struct config *config, bool is_init);

// info.c
void info_send(struct server *server);

// frames.c: control frames.
void send_control(struct server *server, const struct frame *frame);
void send_u32(struct server *server, uint8_t type, uint32_t stream, uint8_t flags, uint32_t value);
void send_failed(struct server *server, uint32_t stream, int reason, const char *message);

// streams.c
// From here on the agent numbers streams.
#define FIRST_ACCEPTED 0x80000000U
// Slots that connections of listeners do not get.
#define KEPT_FOR_HOST 32
// NULL when all slots are taken.
struct stream *streams_add(struct server *server, uint32_t id, enum stream_kind kind);
void streams_drop(struct server *server, const struct stream *stream);
bool streams_may_accept(const struct server *server);
// A number that no stream has.
uint32_t streams_accepted_id(struct server *server);
bool streams_frame(struct server *server, const struct frame *frame);
// Host gone: execs get HUP, connections and listeners are closed.
void streams_detach(struct server *server);
// Descriptors worth waiting for; `owners[i]` tells whose they are. Returns how many.
#define POLLS_PER_STREAM 3
struct poll_owner {
  struct stream *stream;
  size_t slot;
  // Below POLL_INPUT: an output channel. From POLL_LISTENER: one of the stream's listeners.
  int what;
};
enum { POLL_INPUT = 2, POLL_OPENER, POLL_LISTENER };
size_t streams_poll(struct server *server, struct pollfd *fds, struct poll_owner *owners);
void streams_ready(struct server *server, const struct pollfd *fds, const struct poll_owner *owners, size_t count);
// Says what is due: windows, ends, exits; frees what is over.
void streams_settle(struct server *server);
void streams_child_ended(struct server *server, pid_t pid, int status);
// Milliseconds until something is due by the clock, or -1.
int streams_timeout(const struct server *server);
bool streams_idle(const struct server *server);

// serve.c: never returns when `is_init`.
struct serve_options {
  // A listening or connected socket instead of the virtio port; -1 without.
  int fd;
  bool is_init;
  // NULL, or told of every child that has ended, first; true when it was its own.
  bool (*child_ended)(pid_t pid, int status);
};
int serve(const struct config *config, const struct serve_options *options);

// claim.c: returns once no other agent serves this guest.
void claim_guest(void);

// initctl.c: the FIFO on which sysvinit's and systemd's tools ask init for another runlevel.
#define INITCTL_PATH "/run/initctl"
// -1 when it cannot be made, which is said in the log.
int initctl_open(const char *path);
// Takes everything out of the FIFO, without waiting; what it asks for, SHUTDOWN_NONE when that is nothing we do.
enum shutdown_how initctl_take(int fd);
// Returns how many bytes are done with; the rest may be the beginning of a request. `*how` is set once.
size_t initctl_parse(const uint8_t *data, size_t length, enum shutdown_how *how);

// shutdown.c
// false while the init of the image would miss the request: it has only begun.
bool shutdown_image_ready(void);
// Asks the init of the image, whichever it is.
void shutdown_image(enum shutdown_how how);
// The agent is init: ends everything and does it.
__attribute__((noreturn)) void shutdown_machine(enum shutdown_how how);
// What a signal to PID 1 asks for, by the conventions of busybox and systemd.
enum shutdown_how shutdown_for_signal(int number);
#endif
