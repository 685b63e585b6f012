use super::*;

fn creds(caps: u64) -> Creds {
    Creds::new(0, 0, &[], caps)
}

fn write(file: &File, data: &[u8]) -> SysResult<usize> {
    file.ops.write(file, data, 0).map(|w| w.count)
}

#[test]
fn end_of_file_and_broken_pipe() {
    let (reader, writer) = Pipe::pair(&creds(0), 0);
    let mut buf = [0; 8];
    assert_eq!(reader.ops.read(&reader, &mut buf, 0), Err(Errno::AGAIN));
    assert_eq!(write(&writer, b"abc"), Ok(3));
    drop(writer);
    assert_eq!(reader.ops.poll(&reader), Events::IN | Events::RDNORM | Events::HUP);
    assert_eq!(reader.ops.read(&reader, &mut buf, 0), Ok(3));
    assert_eq!(reader.ops.read(&reader, &mut buf, 0), Ok(0));
    assert_eq!(reader.ops.poll(&reader), Events::HUP);

    let (reader, writer) = Pipe::pair(&creds(0), 0);
    drop(reader);
    assert_eq!(writer.ops.poll(&writer), Events::OUT | Events::WRNORM | Events::ERR);
    assert_eq!(write(&writer, b"x"), Err(Errno::PIPE));
    assert_eq!(write(&writer, b""), Ok(0));
}

#[test]
fn capacity_is_rounded_and_limited() {
    let (reader, _writer) = Pipe::pair(&creds(0), 0);
    let pipe = PipeEnd::of(&reader).unwrap().pipe();
    assert_eq!(pipe.capacity(), 65536);
    assert_eq!(pipe.set_capacity(&creds(0), 0), Ok(4096));
    assert_eq!(pipe.set_capacity(&creds(0), 4097), Ok(8192));
    assert_eq!(pipe.set_capacity(&creds(0), 1 << 20), Ok(1 << 20));
    assert_eq!(pipe.set_capacity(&creds(0), (1 << 20) + 1), Err(Errno::PERM));
    assert_eq!(pipe.set_capacity(&creds(crate::kernel::CAP_ALL), (1 << 20) + 1), Ok(2 << 20));
    assert_eq!(pipe.set_capacity(&creds(0), u32::MAX), Err(Errno::INVAL));
}

#[test]
fn a_full_pipe_is_not_writable() {
    let (reader, writer) = Pipe::pair(&creds(0), 0);
    assert_eq!(write(&writer, &[0; 100_000]), Ok(65536));
    assert_eq!(writer.ops.poll(&writer), Events::empty());
    let mut buf = [0; 4095];
    assert_eq!(reader.ops.read(&reader, &mut buf, 0), Ok(4095));
    assert_eq!(writer.ops.poll(&writer), Events::empty());
    assert_eq!(reader.ops.read(&reader, &mut buf[..1], 0), Ok(1));
    assert_eq!(writer.ops.poll(&writer), Events::OUT | Events::WRNORM);
}
