//! Connections that only stay open, and the proof that they did.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::timeout;

use super::connect::{Clients, Stream, Target, connect_all};
use super::{CONNECTIONS_MAX, LoadError, packet, within};

/// A ping is answered within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that are open and say nothing. They end when this is dropped.
pub struct IdleConnections {
    streams: Vec<Stream>,
}

impl IdleConnections {
    /// Pings each: all are still there.
    pub async fn check(&mut self) -> Result<(), LoadError> {
        let mut input = BytesMut::new();
        for stream in &mut self.streams {
            packet::write_all(stream, &mut vec![0xc0, 0]).await?;
            let answer = async {
                loop {
                    if let Some(frame) = packet::frame(&input)? {
                        input.advance(frame.end);
                        return Ok::<bool, LoadError>(frame.first == 0xd0);
                    }
                    packet::read_more(stream, &mut input).await?;
                }
            };
            let answer = timeout(PATIENCE, answer).await.unwrap_or(Ok(false))?;
            if !answer || !input.is_empty() {
                return Err(LoadError::broken("an idle connection does not answer a ping"));
            }
        }
        Ok(())
    }
}

/// Opens so many connections, without keep-alive.
pub async fn idle(target: &Target, connections: usize) -> Result<IdleConnections, LoadError> {
    within("connections", connections, CONNECTIONS_MAX)?;
    let clients = Clients { prefix: "idle", keep_alive_seconds: 0 };
    let streams = connect_all(&Arc::new(target.clone()), connections, clients).await?;
    Ok(IdleConnections { streams })
}
