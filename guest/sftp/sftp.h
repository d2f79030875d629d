// SFTP version 3 server over stdin and stdout (draft-ietf-secsh-filexfer-02, with OpenSSH's extensions).
#ifndef BANGER_SFTP_H
#define BANGER_SFTP_H
// `agent sftp [DIRECTORY]`: serves until the end of stdin. Uses nothing of the rest of the agent.
int sftp_main(int argc, char **argv);
#endif
