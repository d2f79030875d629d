// Feeds the session random and mutated input, in random pieces, with sanitizers watching. Nothing is started for it: the
// functions that would (of exec.h, dial.h, listen.h, opener.h) are replaced here by pipes, so that streams live, move data and end.
// usage: fuzz SECONDS [SEED]
//        fuzz split           splits each line of stdin (they end with NUL); words end with 1F, lines with 1E, refusals begin with !
//        fuzz initctl PATH    makes the FIFO and prints what each batch of requests asks for, until stdin ends
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../dial.h"
#include "../exec.h"
#include "../listen.h"
#include "../opener.h"
#include "../server.h"
#include "../sockets.h"
#include "../util.h"
#include "../words.h"

static uint64_t state;
static unsigned long started, accepted, rows_taken;
static struct server server;

static uint32_t next_random(void) {
  // xorshift64*: the same seed gives the same run.
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (uint32_t)((state * 2685821657736338717ULL) >> 32);
}

static uint32_t below(uint32_t limit) { return next_random() % limit; }

// The linker puts this in place of `say`: remarks on broken protocols are no news here.
__attribute__((format(printf, 1, 2))) void __wrap_say(const char *format, ...);
void __wrap_say(const char *format, ...) { (void)format; }

bool exec_start(struct stream *s, const struct exec_request *request, const struct config *config, const char **error) {
  int in[2], out[2];
  (void)config;
  *error = "refused by chance";
  errno = ENOENT;
  if (request->arg_count == 3 || below(8) == 0 || pipe(in) < 0) return false;
  if (pipe(out) < 0) abort();
  set_nonblocking(in[1]);
  set_nonblocking(out[0]);
  // Half of them have a reader; the others learn that theirs is gone.
  close(in[0]);
  if (write(out[1], "output", 6) != 6) abort();
  close(out[1]);
  // A number that no process has, so that signals go nowhere.
  s->pid = 1 << 28;
  s->tty = request->tty;
  s->in_fd = in[1];
  s->out[0].fd = out[0];
  s->out[1].end_due = true;
  s->exited = below(2) == 0;
  started++;
  return true;
}

// A connection whose other end has said hello and gone.
static int make_connection(void) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0) return -1;
  if (write(ends[1], "hello", 5) != 5) abort();
  close(ends[1]);
  return ends[0];
}

// Some answer, some end at once, some never speak.
bool opener_start(struct stream *s, const struct target_request *request, const char **error) {
  *error = "refused by chance";
  errno = ENOENT;
  if (request->user[0] == 'r' && below(2)) return false;
  s->opener.fd = make_connection();
  s->opener.due = now_ms() + below(3);
  s->connecting = s->kind == STREAM_DIAL;
  return s->opener.fd >= 0;
}

int opener_take(struct stream *s, struct opener_reply *reply) {
  (void)s;
  *reply = (struct opener_reply){.reason = below(3) ? EACCES : OPENER_PENDING, .message = "no"};
  if (below(2)) return -1;
  reply->reason = 0;
  return make_connection();
}

bool dial_start(struct stream *s, const struct target_request *request, const char **error) {
  s->out[1].end_due = true;
  if (request->path[0]) return opener_start(s, request, error);
  *error = "refused by chance";
  errno = ECONNREFUSED;
  if (request->port % 3 == 0 || (s->in_fd = make_connection()) < 0) return false;
  s->connecting = true;
  started++;
  return true;
}

void dial_continue(struct stream *s) {
  if (!stream_adopt(s, s->in_fd)) abort();
}

bool listen_start(struct stream *s, const struct target_request *request, const char **error) {
  if (request->path[0]) return opener_start(s, request, error);
  // They stay readable, so that there is always someone to accept.
  for (int i = 0; i < 2; i++) s->listeners[i] = below(2) ? make_connection() : -1;
  s->port = request->port;
  s->opened = true;
  return true;
}

int listen_accept(const struct stream *s, int which, struct peer *peer) {
  if (s->listeners[which] < 0) abort();
  *peer = (struct peer){.port = 7};
  if (below(2)) strcpy(peer->host, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  errno = below(2) ? EMFILE : EAGAIN;
  if (below(4) == 0) return -1;
  accepted++;
  return make_connection();
}

static const uint8_t token[TOKEN_SIZE] = {1, 2, 1, 2, 1, 2, 3, 1, 2, 1, 2, 1, 2, 1, 2, 9};

static size_t put_hello(uint8_t *out) {
  memcpy(out, token, TOKEN_SIZE);
  for (size_t i = 0; i < NONCE_SIZE; i++) out[TOKEN_SIZE + i] = (uint8_t)next_random();
  return TOKEN_SIZE + NONCE_SIZE;
}

static size_t put_request(uint8_t *payload, size_t size) {
  static const uint16_t tags[] = {TAG_ARG, TAG_ARG, TAG_ENV, TAG_CWD, TAG_USER, TAG_TTY, TAG_STDIN, TAG_HOST, TAG_PORT, TAG_LINE,
      TAG_LOGIN, TAG_BUILTIN, TAG_PATH, 99};
  static const char *const words[] = {"", "a", "A=b", "=", "root", "/tmp", "\x50\0\x18\0xterm", "\1", "127.0.0.1", "\x07\0"};
  size_t length = 0;
  for (uint32_t i = 0, n = below(6); i < n; i++) {
    uint32_t word = below(COUNT_OF(words));
    size_t word_length = word == 6 ? 9 : word == 9 ? 2 : strlen(words[word]);
    tlv_put(payload, size, &length, tags[below(COUNT_OF(tags))], words[word], word_length);
  }
  return length;
}

static size_t put_frame(uint8_t *out) {
  static const uint8_t types[] = {FRAME_EXEC, FRAME_DIAL, FRAME_LISTEN, FRAME_DATA, FRAME_DATA, FRAME_EOF, FRAME_WINDOW, FRAME_RESIZE,
      FRAME_SIGNAL, FRAME_HANGUP, FRAME_CLOSE, FRAME_PING, FRAME_SHUTDOWN, FRAME_EXIT, 77};
  struct frame frame = {.type = types[below(COUNT_OF(types))], .flags = (uint8_t)(below(20) == 0), .stream = below(12)};
  uint8_t *payload = out + FRAME_HEADER;
  // Those that listeners gave lately, and listeners' own numbers that a host must not take.
  if (below(3) == 0) frame.stream = server.last_accepted - below(4);
  if (frame.type == FRAME_EXEC || frame.type == FRAME_DIAL || frame.type == FRAME_LISTEN) {
    if (below(8)) frame.stream %= 12;
    frame.length = (uint32_t)put_request(payload, 1024);
  } else if (frame.type == FRAME_DATA) {
    frame.length = below(10) == 0 ? below(20000) : below(40);
    memset(payload, 'd', frame.length);
  } else if (frame.type == FRAME_WINDOW || frame.type == FRAME_SIGNAL || frame.type == FRAME_RESIZE) {
    frame.length = 4;
    put_u32(payload, below(16) == 0 ? next_random() : below(100));
  }
  frame_header(out, &frame);
  return FRAME_HEADER + frame.length;
}

static size_t make_input(uint8_t *out) {
  size_t length = below(4) ? put_hello(out) : 0;
  for (uint32_t i = 0, n = below(12); i < n; i++) length += put_frame(out + length);
  // Most rounds leave it whole, so that the depths are reached.
  if (below(3) == 0)
    for (uint32_t i = 0, n = 1 + below(8); i < n && length > 0; i++) out[below((uint32_t)length)] = (uint8_t)next_random();
  if (below(20) == 0)
    for (size_t i = 0; i < 200; i++) out[length++] = (uint8_t)next_random();
  return length;
}

// Processes end, and clocks run out, at any time.
static void pass_time(void) {
  if (below(2)) server.accept_after = 0;
  for (size_t i = 0; i < MAX_STREAMS; i++) {
    struct stream *s = server.streams[i];
    if (!s || s->kind != STREAM_EXEC || below(4)) continue;
    s->exited = true;
    s->status = below(2) ? 0x2a00 : 9;
    s->drain_until = below(2) ? 0 : now_ms() + 1;
    if (s->kill_at > 0) s->kill_at = 1;
  }
}

static void serve_streams(void) {
  struct pollfd fds[MAX_STREAMS * POLLS_PER_STREAM];
  struct poll_owner owners[MAX_STREAMS * POLLS_PER_STREAM];
  size_t count = streams_poll(&server, fds, owners);
  if (poll(fds, count, 0) > 0) streams_ready(&server, fds, owners, count);
  if (below(4) == 0) pass_time();
  streams_settle(&server);
  size_t length;
  session_output(&server.session, &length);
  if (length > SESSION_OUT) abort();
  if (below(2)) session_taken(&server.session, below((uint32_t)length + 1));
}

static void feed(const uint8_t *data, size_t length) {
  while (length > 0) {
    size_t n = 1 + below(length < 2048 ? (uint32_t)length : 2048);
    if (session_room(&server.session) < SESSION_RESERVE) {
      size_t waiting;
      session_output(&server.session, &waiting);
      session_taken(&server.session, waiting);
    }
    // A buffer of exactly this size, so that reading past its end is seen.
    uint8_t *piece = malloc(n);
    memcpy(piece, data, n);
    n = session_input(&server.session, piece, n);
    if (n == 0) abort();
    free(piece);
    data += n;
    length -= n;
    serve_streams();
  }
}

// Whole, cut off and bent requests, among garbage.
static void feed_initctl(void) {
  static const uint8_t head[] = {0x69, 0x19, 0x09, 0x03, 1, 0, 0, 0, '6'};
  enum shutdown_how how = SHUTDOWN_NONE;
  size_t length = below(1200);
  uint8_t *data = malloc(length);
  for (size_t i = 0; i < length; i++) data[i] = (uint8_t)(below(2) ? 0 : next_random());
  for (uint32_t i = 0, n = below(4); i < n && length > sizeof head; i++) memcpy(data + below((uint32_t)(length - sizeof head)), head, sizeof head);
  size_t used = initctl_parse(data, length, &how);
  if (used > length || length - used >= 384 || (how != SHUTDOWN_NONE && used < 384)) abort();
  free(data);
}

// Lines of what matters to the splitter: never longer than they were, and what it quotes is what it splits.
static void feed_words(void) {
  static const char letters[] = "ab '\"\\$ \n\t*=~";
  struct words words, again;
  const char *problem;
  size_t length = below(40);
  char *line = malloc(length + 1);
  for (size_t i = 0; i < length; i++) line[i] = letters[below(sizeof letters - 1)];
  line[length] = 0;
  if (words_split(&words, line, &problem)) {
    char *quoted = words_quote(words.list);
    if (!words_split(&again, quoted, &problem) || again.count != words.count + 1) abort();
    for (size_t i = 0; i < words.count; i++)
      if (strcmp(words.list[i], again.list[i + 1]) != 0) abort();
    words_free(&again);
    words_free(&words);
    free(quoted);
  } else if (!problem) {
    abort();
  }
  free(line);
}

// Rows of /proc/net, bent: what is taken for a socket is one of its kind.
static void feed_sockets(void) {
  static const char *const rows[] = {
      "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 0000000000000000 100 0 0 10 0",
      " 4294967295: B80D0120000000000000000001000000:FFFF 00000000000000000000000000000000:0000 07 0:0 0:0 0 4294967295 0 18446744073709551615 2"};
  static const char letters[] = "0123456789ABCDEFx: -+\t";
  struct socket_row row;
  enum socket_kind kind = (enum socket_kind)below(SOCKET_KINDS);
  const char *from = rows[below(2)];
  size_t length = below(3) ? strlen(from) : below((uint32_t)strlen(from));
  char *line = malloc(length + 1);
  memcpy(line, from, length);
  line[length] = 0;
  for (uint32_t n = below(4); n > 0 && length > 0; n--) line[below((uint32_t)length)] = below(3) ? letters[below(sizeof letters - 1)] : (char)next_random();
  if (sockets_parse(line, kind, &row) > 0) {
    bool is_v6 = kind == SOCKET_TCP6 || kind == SOCKET_UDP6, is_udp = kind == SOCKET_UDP4 || kind == SOCKET_UDP6;
    if (row.key[0] != is_udp || row.key[3] != (is_v6 ? 6 : 4) || row.pid != 0 || row.name[0]) abort();
    rows_taken++;
  }
  free(line);
}

static int split_lines(void) {
  char *line = NULL;
  size_t size = 0;
  while (getdelim(&line, &size, 0, stdin) >= 0) {
    struct words words;
    const char *problem;
    if (words_split(&words, line, &problem)) {
      for (size_t i = 0; i < words.count; i++) printf("%s\x1f", words.list[i]);
      words_free(&words);
    } else {
      printf("!%s", problem);
    }
    putchar(0x1e);
  }
  free(line);
  return 0;
}

static int serve_initctl(const char *path) {
  static const char *const names[] = {"nothing", "power off", "reboot"};
  struct pollfd fds[2] = {{.fd = initctl_open(path), .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  if (fds[0].fd < 0) return 1;
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("listening");
  while (poll(fds, 2, -1) >= 0 && !fds[1].revents)
    if (fds[0].revents) puts(names[initctl_take(fds[0].fd)]);
  close(fds[0].fd);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "split") == 0) return split_lines();
  if (argc == 3 && strcmp(argv[1], "initctl") == 0) return serve_initctl(argv[2]);
  static uint8_t input[1 << 20];
  struct config config = {0};
  int64_t end = now_ms() + (argc > 1 ? atoi(argv[1]) : 3) * 1000;
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)now_ms();
  state = seed * 2 + 1;
  signal(SIGPIPE, SIG_IGN);
  memcpy(config.token, token, TOKEN_SIZE);
  server_init(&server, &config, false);
  unsigned long rounds = 0;
  for (; now_ms() < end; rounds++) {
    feed(input, make_input(input));
    server.shutdown = SHUTDOWN_NONE;
    feed_initctl();
    feed_words();
    feed_sockets();
    if (below(50) == 0) {
      streams_detach(&server);
      session_drop(&server.session);
    }
  }
  streams_detach(&server);
  for (size_t i = 0; i < MAX_STREAMS; i++)
    if (server.streams[i]) stream_free(server.streams[i]);
  printf("%lu rounds, %lu streams, %lu accepted, %lu rows, seed %llu\n", rounds, started, accepted, rows_taken, (unsigned long long)seed);
  return 0;
}
