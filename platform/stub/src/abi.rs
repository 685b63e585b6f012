//! What the stub and the platform agree on. Compiled twice: as `stub::abi` and, by `build.rs`, into the blob.

/// Where the stub's one segment is linked and loaded.
pub const TEXT_BASE: u64 = 0x10000;
/// First address that is not stub text, at most.
pub const TEXT_END: u64 = 0x18000;
/// Where the first thread's stub stack lies (a guard page below it stays unmapped).
pub const STACK_BASE: u64 = 0x20000;
/// Room for the first thread's stub stack. What follows (0x60000–0x7ffff) is kept for the jump table of patched
/// call sites.
pub const STACK_MAX: u64 = 0x30000;
/// Where a process maps its own slot file.
pub const SLOTS_BASE: u64 = 0x10_0000;
/// Size of a slot file.
pub const SLOTS_SIZE: u64 = 0x10_0000;
/// End of the addresses that belong to the stub.
pub const RESERVED_END: u64 = 0x20_0000;
/// Size of one parked thread's slot, whose first word it waits on.
pub const SLOT_SIZE: u64 = 64;
/// Where the channels of a process begin, in the upper half of its slot file. A thread with a channel has its
/// address in GS.
pub const CHANNELS_BASE: u64 = SLOTS_BASE + SLOTS_SIZE / 2;
/// And where they end.
pub const CHANNELS_END: u64 = SLOTS_BASE + SLOTS_SIZE - sigactions::TABLES * sigactions::TABLE_SIZE;
/// Size of one thread's channel.
pub const CHANNEL_SIZE: u64 = 4096;
/// The bits of an address above these are the same in all channels of a process.
pub const CHANNELS_SHIFT: u32 = 19;

/// Offsets into a channel. What most calls need is in one line of the cache.
pub mod channel {
    /// A word of 32 bits: one of [`state`](super::state).
    pub const STATE: u64 = 0;
    /// Number of the call, 32 bits.
    pub const NR: u64 = 4;
    /// Its first four arguments.
    pub const ARGS: u64 = 8;
    /// Where the code of the call's site goes on behind the call, and the call's shape, 32 bits.
    pub const DONE: u64 = 40;
    /// How much the call has written that the thread is to copy, 32 bits,
    pub const OUT_LEN: u64 = 44;
    /// and where to.
    pub const OUT_PTR: u64 = 48;
    /// The call's result.
    pub const RET: u64 = 56;
    /// Until the call is answered, in the same place: the length of the path that it has brought along, with its NUL; 0
    /// if it has brought none. 32 bits.
    pub const IN_LEN: u64 = OUT_LEN;
    /// And what the call has brought along.
    pub const IN: u64 = OUT_PTR;
    /// Its last two arguments.
    pub const MORE_ARGS: u64 = IN + MOST;
    /// What it has written, in lines of its own.
    pub const OUT: u64 = 1152;
    /// What only the thread itself uses, in a line of its own: its signal mask, while that is lent to it (see
    /// [`sigmask`](super::sigmask)),
    pub const SIGMASK: u64 = 2176;
    /// where the code goes on that changes it, 32 bits,
    pub const SIGMASK_DONE: u64 = 2184;
    /// and what the flags were, 32 bits.
    pub const SIGMASK_FLAGS: u64 = 2188;
    /// The head of its list of robust mutexes; 0 if it has told the platform otherwise, or not at all.
    pub const ROBUST: u64 = 2232;
    /// Where the actions of its process are, while they are lent to it (see [`sigactions`](super::sigactions)), 32 bits,
    pub const SIGACTIONS: u64 = 2240;
    /// and a new one.
    pub const SIGACTION: u64 = 2248;
    /// What a child that its thread clones finds there, for it has its creator's GS: the nonce that it is to show,
    pub const CHILD_NONCE: u64 = 2192;
    /// the address of its own channel,
    pub const CHILD_CHANNEL: u64 = 2200;
    /// and its stub stack, a `stack_t`.
    pub const CHILD_STACK: u64 = 2208;
    /// How much each can be. More costs less if the platform reaches for it: through a channel each byte goes from one
    /// core's cache to another's twice.
    pub const MOST: u64 = 1024;
}

/// Flags of `clone3`, as C libraries make threads.
pub mod clone {
    /// CLONE_VM, FS, FILES, SIGHAND, THREAD and SYSVSEM.
    pub const THREAD: u32 = 0x5_0f00;
    const SETTLS: u32 = 0x8_0000;
    const PARENT_SETTID: u32 = 0x10_0000;
    const CHILD_CLEARTID: u32 = 0x20_0000;
    /// What programs ask for,
    pub const FLAGS: u32 = THREAD | SETTLS | PARENT_SETTID | CHILD_CLEARTID;
    /// and what the host is asked for: its ids are not the program's.
    pub const HOST_FLAGS: u32 = THREAD | SETTLS | CHILD_CLEARTID;
}

/// A signal mask in a channel.
pub mod sigmask {
    /// The bit that says that the thread may change it: that of SIGKILL, which no mask has.
    pub const LENT: u32 = 8;
    /// The bit of SIGSTOP, which no mask has either.
    pub const STOP: u32 = 18;
}

/// The signal actions of a process, as the kernel has them: tables of one for each signal, behind the channels. A word
/// in a channel has the address of the table that its thread may change, 0 if there is none.
pub mod sigactions {
    /// How many tables there are in a slot file: few processes share their memory.
    pub const TABLES: u64 = 8;
    /// Size of a table,
    pub const TABLE_SIZE: u64 = COUNT * SIZE;
    /// how many actions it has,
    pub const COUNT: u64 = 64;
    /// and the size of one: handler, flags, restorer, mask.
    pub const SIZE: u64 = 32;
    /// The bits of the word that name a signal whose action is the one beside the table.
    pub const BESIDE: u32 = 0x7f;
    /// The flags that Linux 6 knows; others are cleared, so that programs can probe.
    pub const KNOWN_FLAGS: u32 = 0xdc00_0807;
    /// SIGKILL,
    pub const KILL: u32 = 9;
    /// and SIGSTOP: nobody changes their actions, and no mask has them.
    pub const STOP: u32 = 19;
}

/// Which memory a call reads and writes, so that its thread can copy it: fields of a word of eleven bits.
pub mod shape {
    /// The code of a site begins at a multiple of 256; so far into it does the code begin that makes the call the slow way.
    pub const SLOW: u32 = 32;
    /// Where the word begins in what the code of a site has in `rcx`; below is an address.
    pub const SHIFT: u32 = 20;
    /// What is below.
    pub const ADDRESS: u32 = (1 << SHIFT) - 1;
    /// The argument that points to what is written, in the three lowest bits; [`NONE`] if nothing is.
    pub const OUT_ARG: u32 = 0;
    /// Its length: [`NEXT`], [`NEXT_EVENTS`], [`STAT`] or [`STATX`].
    pub const OUT_LEN: u32 = 3;
    /// The argument that points to what is read, in three bits, likewise.
    pub const IN_ARG: u32 = 5;
    /// Its length, in three bits: [`NEXT`], [`EVENT`], [`PATH`], [`NEXT_VECTORS`] or [`NEXT_GATHERED`].
    pub const IN_LEN: u32 = 8;
    /// No such argument.
    pub const NONE: u32 = 7;
    /// A call that reads and writes nothing.
    pub const PLAIN: u32 = NONE << OUT_ARG | NONE << IN_ARG;
    /// The next argument is the length.
    pub const NEXT: u32 = 0;
    /// The next argument is the number of `epoll_event`s.
    pub const NEXT_EVENTS: u32 = 1;
    /// A `stat`.
    pub const STAT: u32 = 2;
    /// A `statx`, which the fifth argument points to whatever the shape says: the only one beyond the fourth.
    pub const STATX: u32 = 3;
    /// One `epoll_event`.
    pub const EVENT: u32 = 1;
    /// A string.
    pub const PATH: u32 = 2;
    /// The next argument is the number of `iovec`s.
    pub const NEXT_VECTORS: u32 = 3;
    /// The same, and what they name follows on them, as many in a row as there is room for.
    pub const NEXT_GATHERED: u32 = 4;
    /// Size of an `epoll_event`,
    pub const EVENT_SIZE: u32 = 12;
    /// of a `stat`,
    pub const STAT_SIZE: u32 = 144;
    /// and of a `statx`.
    pub const STATX_SIZE: u32 = 256;
}

/// Values of a channel's word. The guest makes `LISTENING` a `REQUEST`; the platform does all else.
pub mod state {
    /// Nobody looks: a call has to be made the other way. If there was a request, it is answered.
    pub const IDLE: u32 = 0;
    /// Somebody looks. If there was a request, it is answered.
    pub const LISTENING: u32 = 1;
    /// There is a call. Whether it was taken is the platform's to know: to write it here would have the line of the
    /// cache go to and fro once more.
    pub const REQUEST: u32 = 2;
    /// The answer will take its time.
    pub const BLOCKED: u32 = 3;
    /// This bit is added by a thread that waits for the word to change.
    pub const ASLEEP: u32 = 0x100;
}

/// The signal with which the platform brings a thread into its stub: SIGSTKFLT, a standard signal, so that it
/// coalesces and sending never fails; its low number has it delivered before others.
pub const KICK: i32 = 16;
// A real-time signal would queue: a guest that collects some could use up its user's limit, and no other process of that
// user could be kicked any more (M2).
const _: () = assert!(KICK < 32);

/// The system call number of hypercalls; Linux knows none of this number.
pub const HYPERCALL: u64 = 0x5000;

/// First argument of a hypercall.
pub mod op {
    /// The handler was entered: (uc, siginfo, order buffer, signal number). The first time it is a trap of the stub
    /// itself, which has facts of the process in its registers: rdi the vDSO, rsi the size of a stub stack, rdx the
    /// end of the room for mappings, r8 the string at the top of the initial stack.
    pub const ENTRY: u64 = 2;
    /// Orders have run: (uc, result of the last, order buffer).
    pub const DONE: u64 = 3;
    /// First call of a new thread or process: (uc, 0, order buffer, 0, nonce). If it comes from a thread's rewritten
    /// `clone3` there is no frame yet, only the nonce counts, and the answer is the result of the call.
    pub const CHILD: u64 = 4;
    /// The slot's word was set: (uc, 0, order buffer).
    pub const WOKEN: u64 = 5;
}

/// Low byte of a hypercall's answer; the rest is an operand.
pub mod cmd {
    /// Return from the handler; before, if the operand is not 0, set GS to it (without its lowest bit).
    pub const RETURN: u64 = 0;
    /// Run as many orders as the operand says, then [`super::op::DONE`].
    pub const RUN: u64 = 1;
    /// Run order 0, a `clone` without a stack of its own; the child goes on with [`super::op::CHILD`].
    pub const FORK: u64 = 2;
    /// Run order 0, a `clone` that shares memory, with a copy of the frame on the stub stack that order 1 names
    /// (`args[0]` its base, `args[1]` its size).
    pub const THREAD: u64 = 3;
    /// Wait until the word at the operand is not 0, then [`super::op::WOKEN`].
    pub const WAIT: u64 = 4;
    /// Sleep for ever: the leader of a process whose other threads live on.
    pub const SLEEP: u64 = 5;
}

/// A system call that the platform has the stub make.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// Number.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
    /// Result, filled in by the stub.
    pub ret: u64,
}

/// How many orders fit into the buffer on a stub stack.
pub const ORDERS_MAX: usize = 32;
