//! Frames as bytes: written for the version that both sides speak, and read from a stream in whatever pieces it comes.

use super::{Frame, MAX_FRAME, OLDEST, VERSION, WireError, bounds};

/// Bytes of a frame's length.
const LENGTH: usize = 4;

impl Frame {
    /// The wire version that brought this kind.
    pub const fn since(&self) -> u8 {
        match self {
            Self::Hello(_)
            | Self::State(_)
            | Self::Subscribe(_)
            | Self::Unsubscribe { .. }
            | Self::Subscribed { .. }
            | Self::Refused { .. }
            | Self::Keyframe { .. }
            | Self::Report { .. }
            | Self::Room(_)
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Goaway { .. }
            | Self::Topology { .. } => OLDEST,
            Self::Shed { .. } => 2,
        }
    }

    /// Appends the frame with its length. Nothing is appended for a kind that `version` does not know, or a frame that the
    /// other side would have to refuse.
    pub fn encode(&self, version: u8, out: &mut Vec<u8>) -> Result<(), WireError> {
        if self.since() > version {
            return Err(WireError::Newer(self.since()));
        }
        if !bounds::hold(self) {
            return Err(WireError::OutOfBounds);
        }
        let body = postcard::to_stdvec(self).map_err(|_| WireError::Malformed)?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
        let length = length.ok_or(WireError::TooLong(body.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&body);
        Ok(())
    }

    /// One frame without its length, of a version up to `version`.
    pub fn decode(body: &[u8], version: u8) -> Result<Self, WireError> {
        if body.len() > MAX_FRAME {
            return Err(WireError::TooLong(body.len()));
        }
        // A list's or a text's length is held against what is left of the body before anything is allocated for it.
        let (frame, rest): (Self, _) = postcard::take_from_bytes(body).map_err(|_| WireError::Malformed)?;
        if !rest.is_empty() {
            return Err(WireError::Malformed);
        }
        if frame.since() > version {
            return Err(WireError::Newer(frame.since()));
        }
        if bounds::hold(&frame) { Ok(frame) } else { Err(WireError::OutOfBounds) }
    }
}

/// Takes a stream apart into frames. After an error there are no more: what follows cannot be told apart.
#[derive(Debug)]
pub struct Decoder {
    version: u8,
    buffer: Vec<u8>,
    /// Of `buffer`, what was decoded already.
    read: usize,
    failed: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { version: VERSION, buffer: Vec::new(), read: 0, failed: false }
    }
}

impl Decoder {
    /// Kinds newer than `version` are refused from now on.
    pub const fn speak(&mut self, version: u8) {
        self.version = version;
    }

    /// Takes in what came. Call [`Decoder::next`] until there is nothing more before the next push: then no more than one
    /// frame and one push is ever held.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        self.buffer.drain(..self.read);
        self.read = 0;
        // A stream that claims too much is not collected; `next` says so.
        if self.claimed().is_none_or(|length| length <= MAX_FRAME) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame, or why there will be none.
    #[allow(clippy::should_implement_trait, reason = "an iterator would suggest that the end is the end")]
    pub fn next(&mut self) -> Option<Result<Frame, WireError>> {
        if self.failed {
            return None;
        }
        let length = self.claimed()?;
        if length > MAX_FRAME {
            return Some(Err(self.fail(WireError::TooLong(length))));
        }
        let start = self.read + LENGTH;
        let body = self.buffer.get(start..start + length)?;
        let frame = Frame::decode(body, self.version);
        self.read = start + length;
        Some(frame.map_err(|why| self.fail(why)))
    }

    /// Whether it is in the middle of a frame.
    pub fn is_amid(&self) -> bool {
        !self.failed && self.read < self.buffer.len()
    }

    /// The length of the frame that is being read.
    fn claimed(&self) -> Option<usize> {
        let head = self.buffer.get(self.read..)?.first_chunk::<LENGTH>()?;
        usize::try_from(u32::from_be_bytes(*head)).ok()
    }

    fn fail(&mut self, why: WireError) -> WireError {
        self.failed = true;
        self.buffer = Vec::new();
        self.read = 0;
        why
    }
}
