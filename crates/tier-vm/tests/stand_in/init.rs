//! The only program of a test's guest: loads the kernel's modules, listens on vsock port 5000, and
//! does on each connection what a line asks for.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};

unsafe extern "C" {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn bind(socket: c_int, address: *const c_void, length: u32) -> c_int;
    fn listen(socket: c_int, backlog: c_int) -> c_int;
    fn accept(socket: c_int, address: *mut c_void, length: *mut u32) -> c_int;
    fn reboot(command: c_int) -> c_int;
}

const FINIT_MODULE: c_long = 313;
const AF_VSOCK: c_int = 40;
const SOCK_STREAM: c_int = 1;
const RESTART: c_int = 0x0123_4567;
const PORT: u32 = 5000;

/// `struct sockaddr_vm`.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    zero: [u8; 4],
}

fn main() {
    for (kind, target) in [("proc", "/proc"), ("devtmpfs", "/dev"), ("sysfs", "/sys")] {
        let _ = std::fs::create_dir(target);
        let [kind, target] = [kind, target].map(|text| CString::new(text).unwrap());
        unsafe { mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    }
    let mut modules: Vec<_> = std::fs::read_dir("/modules").unwrap().map(|entry| entry.unwrap().path()).collect();
    modules.sort();
    for module in modules {
        let file = File::open(&module).unwrap();
        let result = unsafe { syscall(FINIT_MODULE, file.as_raw_fd(), c"".as_ptr(), 0) };
        if result != 0 {
            println!("guest: {}: {}", module.display(), std::io::Error::last_os_error());
        }
    }
    let listener = unsafe { socket(AF_VSOCK, SOCK_STREAM, 0) };
    let address = Address { family: AF_VSOCK as u16, reserved: 0, port: PORT, cid: u32::MAX, zero: [0; 4] };
    let bound = unsafe { bind(listener, (&raw const address).cast(), size_of::<Address>() as u32) };
    let listens = unsafe { listen(listener, 16) };
    println!("guest: listens: {listener} {bound} {listens}");
    loop {
        let stream = unsafe { accept(listener, std::ptr::null_mut(), std::ptr::null_mut()) };
        if stream < 0 {
            println!("guest: accept: {}", std::io::Error::last_os_error());
            continue;
        }
        let stream = unsafe { File::from_raw_fd(stream) };
        std::thread::spawn(move || serve(stream));
    }
}

fn serve(stream: File) {
    let mut lines = BufReader::new(&stream);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        let answer = answer(line.trim());
        line.clear();
        if (&stream).write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn hex_of(path: &str) -> String {
    let mut bytes = [0; 16];
    match File::open(path).and_then(|mut file| file.read_exact(&mut bytes)) {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(error) => error.to_string(),
    }
}

fn answer(line: &str) -> String {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("echo", text) => text.to_owned(),
        ("bytes", path) => hex_of(path),
        ("write", path) => match File::options().write(true).open(path).and_then(|mut file| {
            file.write_all(&[0; 512])?;
            file.sync_all()
        }) {
            Ok(()) => "written".to_owned(),
            Err(error) => error.to_string(),
        },
        ("list", path) => {
            let entries = std::fs::read_dir(path).map(|entries| {
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
                names.sort();
                names.join(" ")
            });
            entries.unwrap_or_else(|error| error.to_string())
        }
        ("connect", port) => {
            // To the host.
            let socket = unsafe { socket(AF_VSOCK, SOCK_STREAM, 0) };
            let address = Address { family: AF_VSOCK as u16, reserved: 0, port: port.parse().unwrap(), cid: 2, zero: [0; 4] };
            unsafe extern "C" {
                fn connect(socket: c_int, address: *const c_void, length: u32) -> c_int;
            }
            match unsafe { connect(socket, (&raw const address).cast(), size_of::<Address>() as u32) } {
                0 => "connected".to_owned(),
                _ => std::io::Error::last_os_error().to_string(),
            }
        }
        ("flood", _) => {
            std::thread::spawn(|| {
                let mut console = File::options().write(true).open("/dev/ttyS0").unwrap();
                while console.write_all(&[b'z'; 1024]).is_ok() {}
            });
            "flooding".to_owned()
        }
        ("eat", _) => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
            }
        }
        ("exit", _) => std::process::exit(0),
        ("crash", _) => std::process::abort(),
        ("restart", _) => {
            unsafe { reboot(RESTART) };
            "it did not".to_owned()
        }
        _ => "what?".to_owned(),
    }
}
