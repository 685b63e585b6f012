//! What `close` waits for with `SO_LINGER`: until the other side has all, and knows that it is.

use super::endpoint::Tcp;
use super::flow::Flow;
use crate::executor::WaitQueue;
use crate::net::socket::Closing;
use std::sync::Arc;

/// A connection over an interface whose socket is being closed. Over `lo` the other side has all at once.
pub(super) struct ClosingFlow {
    /// Kept to be told.
    end: Arc<Tcp>,
    flow: Arc<Flow>,
}

/// What is to be waited for once `end` is closed.
pub(super) fn of(end: &Arc<Tcp>) -> Option<Arc<dyn Closing>> {
    let flow = end.flow()?;
    Some(Arc::new(ClosingFlow { end: end.clone(), flow }))
}

impl Closing for ClosingFlow {
    fn is_over(&self) -> bool {
        !self.flow.is_closing()
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.end.queue
    }
}
