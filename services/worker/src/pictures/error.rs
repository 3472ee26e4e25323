//! What can go wrong with a picture, by what the caller can do about it. `images.rs` maps it to a status.

use image::ImageError;

use super::format::Format;
use super::target::Size;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes begin like nothing that is read here: send a picture.
    #[error("this is no picture: it is neither JPEG, PNG, WebP nor GIF")]
    NotAPicture,
    /// It begins like a picture and then is none: send it again, whole.
    #[error("the {format} is damaged: {reason}")]
    Damaged {
        /// What it begins like.
        format: Format,
        /// The decoder's words.
        reason: String,
    },
    /// A rare kind of a known format: send it in another one.
    #[error("the {format} is of a kind that is not read here: {reason}")]
    Unsupported {
        /// The format it is a kind of.
        format: Format,
        /// The decoder's words.
        reason: String,
    },
    /// More pixels than this worker takes, or makes: send, or ask for, fewer.
    #[error("{size} are {} pixels, more than the {limit} that are allowed", size.pixels())]
    TooManyPixels {
        /// What was announced, or asked for.
        size: Size,
        /// [`Limits::max_pixels`](super::Limits::max_pixels).
        limit: u64,
    },
    /// The file makes its decoder want more memory than the picture is worth: send it in another format.
    #[error("the {format} needs more than the {limit} bytes that its decoder is allowed")]
    TooMuchMemory {
        /// The format it is in.
        format: Format,
        /// What follows from [`Limits::max_pixels`](super::Limits::max_pixels).
        limit: u64,
    },
    /// What was asked for makes no sense: ask for something else.
    #[error("{0}")]
    BadArgument(String),
    /// Nobody waits for it any more.
    #[error("nobody waits for the picture any more")]
    Unwanted,
    /// Our own fault; asking again does not help.
    #[error("the {format} could not be made")]
    Internal {
        /// What was to come out.
        format: Format,
        /// What failed: to be logged.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(super) fn damaged(format: Format, reason: impl Into<String>) -> Self {
        Self::Damaged { format, reason: reason.into() }
    }

    pub(super) fn internal(format: Format, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal { format, source: Box::new(source) }
    }

    /// A decoder's refusal. `limit` is the memory that it was allowed.
    pub(super) fn decoding(format: Format, limit: u64, error: &ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::TooMuchMemory { format, limit },
            ImageError::Unsupported(_) => Self::Unsupported { format, reason: error.to_string() },
            _ => Self::damaged(format, error.to_string()),
        }
    }
}
