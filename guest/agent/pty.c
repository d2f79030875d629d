#define _GNU_SOURCE
#include "pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "util.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

void pty_resize(int fd, uint16_t cols, uint16_t rows) {
  struct winsize size = {.ws_col = cols, .ws_row = rows};
  ioctl(fd, TIOCSWINSZ, &size);
}

int pty_open(int *terminal, uint16_t cols, uint16_t rows) {
  int unlocked = 0;
  int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -1;
  if (ioctl(fd, TIOCSPTLCK, &unlocked) < 0) {
    close_fd(&fd);
    return -1;
  }
  // Needs no /dev/pts where the image hides it.
  *terminal = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (*terminal < 0) {
    int error = errno;
    close_fd(&fd);
    errno = error;
    return -1;
  }
  struct termios mode;
  if (tcgetattr(*terminal, &mode) == 0) {
    mode.c_iflag |= IUTF8;
    tcsetattr(*terminal, TCSANOW, &mode);
  }
  pty_resize(fd, cols, rows);
  return fd;
}
