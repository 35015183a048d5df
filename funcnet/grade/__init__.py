"""``funcnet grade``: students' files, marked beside a teacher's key by a process that does not trust theirs."""
