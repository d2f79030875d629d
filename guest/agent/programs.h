// The agent's small programs for a host that watches: each is run by EXEC with `builtin`.
#ifndef BANGER_PROGRAMS_H
#define BANGER_PROGRAMS_H

int figures_main(int argc, char **argv);
int ports_main(int argc, char **argv);
int clock_main(int argc, char **argv);
int udp_main(int argc, char **argv);
#endif
