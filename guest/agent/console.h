// A shell on the serial console for whoever is at the host's end of it: the last resort, so a process of its own from the start,
// which needs neither the agent nor the image's init to answer.
#ifndef BANGER_CONSOLE_H
#define BANGER_CONSOLE_H
#include <stdbool.h>
#include <sys/types.h>

// Starts it, once the agent's program lies below /run.
void console_start(void);
// Whether the process that ended was it, which is then started again, unless it saw nothing to do.
bool console_child_ended(pid_t pid, int status);
// `agent console`: waits for Enter on the console, runs root's login shell there, and begins anew. Ends with 0 where there is no shell.
int console_main(int argc, char **argv);
#endif
