#define _GNU_SOURCE
#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "child.h"
#include "listen.h"
#include "util.h"

// Where the child has its end of the socket while everything else is closed.
#define REPLY_FD 3
// All addresses of a name together; what is left of the limit is for finding them.
#define CONNECT_MS 10000
#define MIN_CONNECT_MS 2000
// So long a listener that was just closed may take to remove its file.
#define REMOVAL_MS 300
#define REMOVAL_STEP_MS 10

static int fail(struct opener_reply *reply, int reason, const char *message) {
  reply->reason = reason;
  snprintf(reply->message, sizeof reply->message, "%s", message);
  return -1;
}

static int fail_errno(struct opener_reply *reply, int *fd) {
  int reason = errno;
  if (fd) close_fd(fd);
  return fail(reply, reason, strerror(reason));
}

static int open_unix(struct opener_reply *reply, const struct target_request *request, struct sockaddr_un *address) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(request->path) >= sizeof address->sun_path) return fail(reply, ENAMETOOLONG, strerror(ENAMETOOLONG));
  strcpy(address->sun_path, request->path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return fd < 0 ? fail_errno(reply, NULL) : fd;
}

static int dial_unix(struct opener_reply *reply, const struct target_request *request) {
  struct sockaddr_un address;
  int fd = open_unix(reply, request, &address);
  // Waits while the queue of who listens is full.
  if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) return fail_errno(reply, &fd);
  return fd;
}

static bool connect_within(int fd, const struct addrinfo *address, int limit_ms) {
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  int error = 0;
  socklen_t size = sizeof error;
  if (connect(fd, address->ai_addr, address->ai_addrlen) == 0) return true;
  if (errno != EINPROGRESS) return false;
  int count = poll(&ready, 1, limit_ms);
  if (count == 0) errno = ETIMEDOUT;
  if (count <= 0) return false;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) return false;
  errno = error;
  return error == 0;
}

static int dial_address(const struct addrinfo *address, int limit_ms) {
  int one = 1;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect_within(fd, address, limit_ms)) return fd;
  int reason = errno;
  close_fd(&fd);
  errno = reason;
  return -1;
}

static int fail_name(struct opener_reply *reply, int code) {
  switch (code) {
    case EAI_NONAME:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
      return fail(reply, ENOENT, "no such host in the guest");
    case EAI_AGAIN:
      return fail(reply, EHOSTUNREACH, "the guest's name server does not answer");
    default:
      return fail(reply, EIO, gai_strerror(code));
  }
}

// Reasons that only say that the guest has no network of the address's kind.
static bool says_little(int reason) { return reason == ENETUNREACH || reason == EADDRNOTAVAIL || reason == EAFNOSUPPORT; }

static int dial_name(struct opener_reply *reply, const struct target_request *request) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
  char port[8];
  int count = 0, fd = -1, reason = 0;
  snprintf(port, sizeof port, "%u", request->port);
  int code = getaddrinfo(request->host, port, &hints, &found);
  if (code != 0) return fail_name(reply, code);
  for (const struct addrinfo *at = found; at; at = at->ai_next) count++;
  int limit = count * MIN_CONNECT_MS > CONNECT_MS ? MIN_CONNECT_MS : CONNECT_MS / count;
  for (const struct addrinfo *at = found; fd < 0 && at; at = at->ai_next) {
    fd = dial_address(at, limit);
    // The first address's reason is the one people know.
    if (fd < 0 && (reason == 0 || says_little(reason))) reason = errno;
  }
  freeaddrinfo(found);
  return fd < 0 ? fail(reply, reason, strerror(reason)) : fd;
}

static bool is_socket(const char *path) {
  struct stat is;
  return lstat(path, &is) == 0 && S_ISSOCK(is.st_mode);
}

static int listen_unix(struct opener_reply *reply, const struct target_request *request) {
  struct sockaddr_un address;
  int fd = open_unix(reply, request, &address);
  if (fd < 0) return -1;
  umask(0177);
  int bound = bind(fd, (const struct sockaddr *)&address, sizeof address);
  for (int waited = 0; bound < 0 && errno == EADDRINUSE && is_socket(request->path) && waited < REMOVAL_MS; waited += REMOVAL_STEP_MS) {
    sleep_ms(REMOVAL_STEP_MS);
    bound = bind(fd, (const struct sockaddr *)&address, sizeof address);
  }
  if (bound < 0) return fail_errno(reply, &fd);
  if (listen(fd, LISTEN_BACKLOG) == 0) return fd;
  fail_errno(reply, &fd);
  unlink(request->path);
  return -1;
}

static bool send_reply(const struct opener_reply *reply, int fd) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec data = {.iov_base = (void *)reply, .iov_len = sizeof *reply};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
  if (fd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
  }
  return sendmsg(REPLY_FD, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *reply;
}

// Stays as the user until the agent has closed the listener or is gone: root must not remove names in a user's directory.
static void keep_file(const char *path, const struct stat *made) {
  char byte;
  struct stat is;
  ssize_t n;
  alarm(0);
  do n = read(REPLY_FD, &byte, 1);
  while (n > 0 || (n < 0 && errno == EINTR));
  // Another file may have come in its place.
  if (lstat(path, &is) == 0 && is.st_dev == made->st_dev && is.st_ino == made->st_ino) unlink(path);
}

__attribute__((noreturn)) static void child(int reply_fd, enum stream_kind kind, const struct target_request *request, const struct account *account) {
  struct opener_reply reply = {0};
  struct stat made = {0};
  int fd = -1;
  if (reply_fd != REPLY_FD && dup2(reply_fd, REPLY_FD) < 0) _exit(1);
  child_close_from(REPLY_FD + 1);
  child_reset();
  setsid();
  // The agent is the one that gives up; this is for an agent that is gone.
  alarm(OPENER_LIMIT_MS / 1000 + 1);
  if (!child_become(account))
    fail_errno(&reply, NULL);
  else if (kind == STREAM_LISTEN)
    fd = listen_unix(&reply, request);
  else
    fd = request->path[0] ? dial_unix(&reply, request) : dial_name(&reply, request);
  bool has_file = fd >= 0 && kind == STREAM_LISTEN && lstat(request->path, &made) == 0;
  send_reply(&reply, fd);
  close_fd(&fd);
  if (has_file) keep_file(request->path, &made);
  _exit(0);
}

bool opener_start(struct stream *s, const struct target_request *request, const char **error) {
  struct account account;
  int ends[2];
  errno = EINVAL;
  *error = "the path of a unix socket must be absolute";
  if (request->path[0] && request->path[0] != '/') return false;
  if (!account_find(&account, request->user[0] ? request->user : NULL, error)) {
    errno = ENOENT;
    return false;
  }
  *error = "cannot start a process";
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return false;
  pid_t pid = fork();
  if (pid == 0) child(ends[1], s->kind, request, &account);
  int reason = errno;
  close_fd(&ends[1]);
  if (pid < 0) {
    close_fd(&ends[0]);
    errno = reason;
    return false;
  }
  s->opener = (struct opener){.pid = pid, .fd = ends[0], .due = now_ms() + OPENER_LIMIT_MS};
  s->connecting = s->kind == STREAM_DIAL;
  return true;
}

int opener_take(struct stream *s, struct opener_reply *reply) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec data = {.iov_base = reply, .iov_len = sizeof *reply};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  int fd = -1;
  ssize_t n = recvmsg(s->opener.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return fail(reply, OPENER_PENDING, "");
  const struct cmsghdr *header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof fd))
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
  if (n == (ssize_t)sizeof *reply) reply->message[sizeof reply->message - 1] = 0;
  if (n == (ssize_t)sizeof *reply && (fd >= 0) == (reply->reason == 0)) return fd;
  close_fd(&fd);
  return fail(reply, EIO, "the process that was to open it has ended");
}
