//! What listings of all file systems have in common.

use super::file::{Emit, File};

/// Gives `.` at position 0 and `..` at position 1 and moves `pos` past them; false if the taker has enough.
/// `ino` is the directory's own number.
pub fn emit_dots(file: &File, ino: u64, pos: &mut u64, emit: &mut Emit<'_>) -> bool {
    if *pos == 0 {
        if !emit(b".", ino, libc::DT_DIR, 1) {
            return false;
        }
        *pos = 1;
    }
    if *pos == 1 {
        let parent = file.path.as_ref().and_then(|path| path.dentry.parent());
        let parent_ino = parent.and_then(|dentry| dentry.inode().ok().map(|inode| inode.ino())).unwrap_or(ino);
        if !emit(b"..", parent_ino, libc::DT_DIR, 2) {
            return false;
        }
        *pos = 2;
    }
    true
}
