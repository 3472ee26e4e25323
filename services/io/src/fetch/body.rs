//! A response's body, piece by piece up to a limit. Called by `fetcher` for the last response of a chain.

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::Error;

/// Reserved at most on a server's word alone.
const MOST_AHEAD: u64 = 1 << 20;

/// The whole body, unless it is larger than `limit` bytes: at once if the server says so, else when it shows.
pub(super) async fn collect(mut response: Response, limit: u64, host: &str) -> Result<Bytes, Error> {
    let announced = response.content_length().unwrap_or(0);
    let too_large = || Error::TooLarge { host: host.to_owned(), limit };
    if announced > limit {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(announced.min(MOST_AHEAD) as usize);
    while let Some(piece) = next(&mut response, host).await? {
        if (body.len() + piece.len()) as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

async fn next(response: &mut Response, host: &str) -> Result<Option<Bytes>, Error> {
    response.chunk().await.map_err(|error| Error::from_client(&error, host.to_owned()))
}
