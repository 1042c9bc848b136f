//! The floor: what one write(2) to a socket costs here and now, with a receiver on the same cores.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::receive::thread_cpu;

const SPAN: Duration = Duration::from_secs(2);

/// Microseconds of the writer's processor time for one write of `bytes` to one of `sockets` in turn.
pub(crate) fn measure(sockets: usize, bytes: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("a port");
    let mut poll = Poll::new().expect("epoll");
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for number in 0..sockets {
        let writer = TcpStream::connect(addr).expect("a connection");
        writer.set_nodelay(true).expect("a socket");
        writer.set_nonblocking(true).expect("a socket");
        let (reader, _) = listener.accept().expect("a connection");
        reader.set_nonblocking(true).expect("a socket");
        let mut reader = mio::net::TcpStream::from_std(reader);
        poll.registry().register(&mut reader, Token(number), Interest::READABLE).expect("epoll");
        writers.push(writer);
        readers.push(reader);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let reading = std::thread::spawn(move || {
        let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
        while !stopped.load(Ordering::Relaxed) {
            poll.poll(&mut events, Some(Duration::from_millis(50))).expect("epoll");
            for event in &events {
                while readers[event.token().0].read(&mut buffer).is_ok_and(|len| len == buffer.len()) {}
            }
        }
    });
    let (frame, started, cpu) = (vec![b'x'; bytes], Instant::now(), thread_cpu());
    let mut count = 0_u64;
    while started.elapsed() < SPAN {
        for writer in &mut writers {
            match writer.write(&frame) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    let cpu = thread_cpu() - cpu;
    stop.store(true, Ordering::Relaxed);
    reading.join().expect("the reader");
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}
