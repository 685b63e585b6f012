//! File systems in the making, or about to be changed (`fsopen(2)`, `fspick(2)`): parameters are collected one by one.

use super::{Detached, MountFlags, MountNamespace};
use crate::errno::{Errno, SysResult};
use crate::fs::boot;
use crate::fs::dentry::Dentry;
use crate::fs::file::{File, FileOps};
use crate::sync::Mutex;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Parameters of a context take a page at most, as those of `mount(2)` do.
const PARAMETERS_MAX: usize = 4096;

/// What can be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Parameters for a new file system.
    Create,
    /// It is there, and waits for `fsmount`.
    Made,
    /// Parameters for changes of one that is there.
    Reconfigure,
    /// Nothing: it could not be made.
    Failed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    source: Option<String>,
    /// As `mount(2)` takes them.
    options: Vec<u8>,
    readonly: Option<bool>,
    root: Option<Arc<Dentry>>,
}

/// What is behind the descriptor.
#[derive(Debug)]
pub struct MountContext {
    fstype: String,
    state: Mutex<State>,
}

/// A parameter, as `fsconfig(2)` gives it.
#[derive(Debug)]
pub enum Parameter {
    /// A word alone.
    Flag,
    /// A word with a text.
    Text(Vec<u8>),
    /// Anything else, which no file system here takes.
    Other,
}

impl FileOps for MountContext {
    /// Messages of the file system, of which there are none.
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> SysResult<usize> {
        Err(Errno::NODATA)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn describe(&self) -> String {
        "anon_inode:[fscontext]".into()
    }
}

impl MountContext {
    fn with(fstype: &str, phase: Phase, root: Option<Arc<Dentry>>) -> MountContext {
        let state = State { phase, source: None, options: Vec::new(), readonly: None, root };
        MountContext { fstype: fstype.to_owned(), state: Mutex::new(state) }
    }

    /// For a new file system of a type; `ENODEV` if there is no such type.
    pub fn new(fstype: &[u8]) -> SysResult<MountContext> {
        let fstype = std::str::from_utf8(fstype).map_err(|_| Errno::NODEV)?;
        if !boot::types().contains(&fstype) {
            return Err(Errno::NODEV);
        }
        Ok(MountContext::with(fstype, Phase::Create, None))
    }

    /// For changes of a mounted file system.
    pub fn of(root: Arc<Dentry>) -> MountContext {
        let fstype = root.sb.fs.fstype().to_owned();
        MountContext::with(&fstype, Phase::Reconfigure, Some(root))
    }

    /// Takes one parameter.
    pub fn set(&self, key: &[u8], value: &Parameter) -> SysResult<()> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Create | Phase::Reconfigure) {
            return Err(Errno::BUSY);
        }
        match (key, value) {
            (b"ro", _) => state.readonly = Some(true),
            (b"rw", _) => state.readonly = Some(false),
            (b"sync" | b"async" | b"dirsync" | b"lazytime" | b"nolazytime" | b"mand" | b"nomand", _) => {}
            (b"source", Parameter::Text(text)) if state.source.is_none() => {
                state.source = Some(String::from_utf8_lossy(text).into_owned());
            }
            (b"source", _) | (_, Parameter::Other) => return Err(Errno::INVAL),
            (_, Parameter::Flag) => self.add(&mut state, key.to_vec())?,
            (_, Parameter::Text(text)) => self.add(&mut state, [key, b"=", text].concat())?,
        }
        Ok(())
    }

    fn add(&self, state: &mut State, option: Vec<u8>) -> SysResult<()> {
        if option.contains(&b',') || state.options.len() + option.len() + 2 > PARAMETERS_MAX {
            return Err(Errno::INVAL);
        }
        // A file system that takes it is the proof that it is one of its parameters.
        boot::make_type(&self.fstype, "none", &option).map_err(|_| Errno::INVAL)?;
        if !state.options.is_empty() {
            state.options.push(b',');
        }
        state.options.extend(option);
        Ok(())
    }

    /// Makes the file system (`FSCONFIG_CMD_CREATE`).
    pub fn create(&self) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.phase != Phase::Create {
            return Err(Errno::BUSY);
        }
        state.phase = Phase::Failed;
        let source = state.source.as_deref().unwrap_or("none");
        let root = boot::make_type(&self.fstype, source, &state.options)?;
        root.sb.readonly.store(state.readonly == Some(true), Ordering::Relaxed);
        state.root = Some(root);
        state.phase = Phase::Made;
        Ok(())
    }

    /// Changes the file system (`FSCONFIG_CMD_RECONFIGURE`).
    pub fn reconfigure(&self) -> SysResult<()> {
        let mut state = self.state.lock();
        let (Phase::Reconfigure, Some(root)) = (state.phase, state.root.clone()) else { return Err(Errno::BUSY) };
        root.sb.fs.remount(&std::mem::take(&mut state.options))?;
        if let Some(readonly) = state.readonly.take() {
            root.sb.readonly.store(readonly, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A mount of what was made (`fsmount(2)`).
    pub fn mount(&self, namespace: &Arc<MountNamespace>, flags: MountFlags) -> SysResult<Arc<File>> {
        let mut state = self.state.lock();
        let root = state.root.clone().ok_or(Errno::INVAL)?;
        if state.phase != Phase::Made {
            return Err(Errno::BUSY);
        }
        let file = Detached::mount(namespace, root, flags)?;
        state.phase = Phase::Reconfigure;
        state.options.clear();
        state.readonly = None;
        Ok(file)
    }
}
