#ifndef BANGER_ENVIRON_H
#define BANGER_ENVIRON_H
#include "config.h"
#include "passwd.h"
#include "request.h"

// Defaults for the account, then the VM's environment, then the request's; later ones win. NULL without memory.
char **environ_build(const struct exec_request *request, const struct config *config, const struct account *account);
void environ_free(char **env);
#endif
