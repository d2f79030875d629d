// What every process that the agent forks for somebody does first.
#ifndef BANGER_CHILD_H
#define BANGER_CHILD_H
#include <stdbool.h>

#include "passwd.h"

// Signals, umask and standing with the OOM killer as a new process should have them; the agent has others.
void child_reset(void);
void child_close_from(int first);
// Takes the user's groups and number on. false with errno. Where the agent is not root it does nothing for the agent's own user.
bool child_become(const struct account *account);
#endif
