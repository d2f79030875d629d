#ifndef BANGER_PTY_H
#define BANGER_PTY_H
#include <stdint.h>

// A new terminal: the controlling end, non-blocking; `*terminal` is the other. -1 with errno.
int pty_open(int *terminal, uint16_t cols, uint16_t rows);
void pty_resize(int fd, uint16_t cols, uint16_t rows);
#endif
