// OpenSSH's side is mm_receive_fd: one byte of data with one descriptor.
#define _GNU_SOURCE
#include "proxy.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { PASS_LIMIT_MS = 10000 };

void pass_fd(int channel, int fd) {
  char byte = 0;
  struct iovec data = { &byte, 1 };
  union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.space };
  struct cmsghdr *entry = CMSG_FIRSTHDR(&message);
  entry->cmsg_level = SOL_SOCKET;
  entry->cmsg_type = SCM_RIGHTS;
  entry->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(entry), &fd, sizeof fd);
  int64_t deadline = now_ms() + PASS_LIMIT_MS;
  while (sendmsg(channel, &message, MSG_NOSIGNAL) != 1) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN && wait_ready(channel, POLLOUT, deadline)) continue;
    if (errno == ENOTSOCK) fail("--fdpass is for ssh with ProxyUseFdpass: stdout is not a socket");
    fail("cannot hand the connection to ssh: %s", strerror(errno));
  }
}
