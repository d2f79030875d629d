// One exec, connection or listener: its descriptors, what waits for them, and how much either side may still send.
#ifndef BANGER_STREAM_H
#define BANGER_STREAM_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Bytes that may be under way in each direction of each channel.
#define STREAM_WINDOW (256 * 1024)
#define MAX_STREAMS 256

// STREAM_DIAL is any connection, those that a listener took as well.
enum stream_kind { STREAM_EXEC, STREAM_DIAL, STREAM_LISTEN };

// The process that opens something as a user (opener.h). `due` is set while its answer is waited for.
struct opener {
  pid_t pid;
  int fd;
  int64_t due;
};

// Guest to host. Channel 0 is stdout, the terminal or the connection; 1 is stderr.
struct channel {
  int fd;
  uint32_t credit;
  bool end_due;
};

struct stream {
  uint32_t id;
  enum stream_kind kind;
  // false: its host is gone; it only waits for its processes to end.
  bool attached;
  bool tty;
  struct channel out[2];

  // Host to guest.
  int in_fd;
  uint8_t *in_data;
  size_t in_size, in_start, in_length;
  // What the host may still send, and what it must yet be told was taken.
  uint32_t in_window, in_taken;
  // The host's end came and must still be passed on; nothing more will go in.
  bool in_eof, in_done;

  // Exec.
  pid_t pid;
  bool exited;
  int status;
  int64_t drain_until, kill_at;

  // Dial.
  bool connecting, opened, reset;
  int failure;
  struct sockaddr_storage next;
  socklen_t next_length;

  // Listen.
  int listeners[2];
  uint16_t port;

  struct opener opener;
};

struct stream *stream_new(uint32_t id, enum stream_kind kind);
void stream_free(struct stream *s);
// Makes a connected socket the stream's own. false with errno.
bool stream_adopt(struct stream *s, int fd);
// Takes data of the host. false: more than the window allows, or no memory.
bool stream_write(struct stream *s, const uint8_t *data, size_t length);
// Moves what waits into the descriptor; closes it after the end.
void stream_flush(struct stream *s);
void stream_end_input(struct stream *s);
bool stream_wants_write(const struct stream *s);
void stream_signal(const struct stream *s, int number);
// HUP now, KILL when `kill_at` has come; its output goes on until then.
void stream_hangup(struct stream *s);
// The host is gone or gave it up: hung up, and nobody listens. Closing a terminal tells its foreground job as well.
void stream_detach(struct stream *s);
#endif
