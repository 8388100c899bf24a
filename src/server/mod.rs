//! Sockets, files, clocks and threads: the runtime of the replica actor.
