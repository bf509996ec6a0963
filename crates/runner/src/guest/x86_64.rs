//! The guest: sixteen pages of memory and a processor in long mode.

use axo_runner::KvmFault;
use kvm_ioctls::{Error, Kvm, VcpuExit, VcpuFd, VmFd};

use super::unusable;

/// Runs it to its end.
pub(super) fn run(kvm: &Kvm) -> Result<(), KvmFault> {
    let mut memory = Box::new(Memory([0; MEMORY_BYTES]));
    memory.fill();
    let machine = kvm.create_vm().map_err(unusable("making a machine"))?;
    give_memory(&machine, &mut memory).map_err(unusable("giving the machine memory"))?;
    let mut processor = machine
        .create_vcpu(0)
        .map_err(unusable("making a processor"))?;
    set(&processor).map_err(unusable("setting the processor's registers"))?;
    halts(&mut processor)
}

/// The guest halts where it is to, and nowhere else.
fn halts(processor: &mut VcpuFd) -> Result<(), KvmFault> {
    const DOING: &str = "running a guest of a few instructions";
    let ended = match processor.run().map_err(unusable(DOING))? {
        VcpuExit::Hlt => None,
        VcpuExit::InternalError => Some("the hypervisor cannot execute them".to_owned()),
        other => Some(format!("it ended with {other:?}")),
    };
    let why = match ended {
        Some(why) => why,
        None => {
            let registers = processor.get_regs().map_err(unusable(DOING))?;
            if registers.rip == HALTED && registers.rbx == HANDLED {
                return Ok(());
            }
            format!(
                "it halted at {:#x} with {:#x} in place of {HALTED:#x} with {HANDLED:#x}",
                registers.rip, registers.rbx
            )
        }
    };
    Err(KvmFault::Unusable {
        doing: DOING.to_owned(),
        why,
    })
}

const MEMORY_BYTES: usize = 0x1_0000;

/// The guest's memory, from address 0.
#[repr(C, align(4096))]
struct Memory([u8; MEMORY_BYTES]);

// Where things are in it. One page table maps its first 2 MiB to themselves.
const SEGMENTS: usize = 0x500;
const CODE: usize = 0x1000;
const HANDLER: usize = 0x1800;
const TABLES: [usize; 3] = [0x2000, 0x3000, 0x4000];
const INTERRUPTS: usize = 0x6000;
const NUMBER: usize = 0x7000;
const STACK: u64 = 0x9000;

/// Exchanges the sixteen bytes at `NUMBER`, runs into a breakpoint, and halts.
const PROGRAM: [u8; 12] = [
    0xbf, 0x00, 0x70, 0x00, 0x00, // mov edi, NUMBER
    0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b [rdi]
    0xcc, // int3
    0xf4, // hlt
];
/// Where it is when it has halted.
const HALTED: u64 = (CODE + PROGRAM.len()) as u64;
/// What the handler of the breakpoint leaves in a register.
const HANDLED: u64 = 0x5a;
const HANDLER_PROGRAM: [u8; 7] = [
    0xbb, 0x5a, 0x00, 0x00, 0x00, // mov ebx, HANDLED
    0x48, 0xcf, // iretq
];

/// Segments of 64-bit code and of data, as the processor's manual has them.
const CODE_SEGMENT: u64 = 0x00af_9b00_0000_ffff;
const DATA_SEGMENT: u64 = 0x00cf_9300_0000_ffff;
/// The breakpoint's number.
const BREAKPOINT: usize = 3;
/// A gate for an interrupt: present, for the kernel.
const GATE: u64 = 0x8e00;

impl Memory {
    fn fill(&mut self) {
        const PRESENT_WRITABLE: u64 = 0x3;
        const PAGE_OF_2_MIB: u64 = 0x80;
        let [first, second, third] = TABLES;
        self.put(first, second as u64 | PRESENT_WRITABLE);
        self.put(second, third as u64 | PRESENT_WRITABLE);
        self.put(third, PRESENT_WRITABLE | PAGE_OF_2_MIB);
        self.put(SEGMENTS + 8, CODE_SEGMENT);
        self.put(SEGMENTS + 16, DATA_SEGMENT);
        // Offset in two parts, the code segment's selector, and the kind of gate.
        let gate = HANDLER as u64 | 8 << 16 | GATE << 32;
        self.put(INTERRUPTS + BREAKPOINT * 16, gate);
        self.0[CODE..CODE + PROGRAM.len()].copy_from_slice(&PROGRAM);
        self.0[HANDLER..HANDLER + HANDLER_PROGRAM.len()].copy_from_slice(&HANDLER_PROGRAM);
        // What is compared with registers that are 0, and so exchanged.
        self.put(NUMBER, 0);
    }

    fn put(&mut self, place: usize, value: u64) {
        self.0[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
}

#[expect(unsafe_code, reason = "the guest writes memory of this process")]
fn give_memory(machine: &VmFd, memory: &mut Memory) -> Result<(), Error> {
    let region = kvm_bindings::kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_BYTES as u64,
        userspace_addr: std::ptr::from_mut(memory) as u64,
    };
    // SAFETY: the memory outlives the machine, which is made later and dropped earlier, is aligned to
    // pages, and is used by nobody else while the guest runs.
    unsafe { machine.set_user_memory_region(region) }
}

/// The processor is where a 64-bit kernel would have it.
fn set(processor: &VcpuFd) -> Result<(), Error> {
    // From the processor's manual: what protection, paging and long mode are switched on by.
    const CR0: u64 = 0x8005_0033;
    const CR4: u64 = 0x620;
    const EFER: u64 = 0xd00;
    let mut system = processor.get_sregs()?;
    let data = kvm_bindings::kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: 16,
        type_: 3,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..Default::default()
    };
    system.cs = kvm_bindings::kvm_segment {
        selector: 8,
        type_: 11,
        db: 0,
        l: 1,
        ..data
    };
    for segment in [
        &mut system.ds,
        &mut system.es,
        &mut system.fs,
        &mut system.gs,
        &mut system.ss,
    ] {
        *segment = data;
    }
    system.gdt.base = SEGMENTS as u64;
    system.gdt.limit = 3 * 8 - 1;
    system.idt.base = INTERRUPTS as u64;
    system.idt.limit = 256 * 16 - 1;
    system.cr0 = CR0;
    system.cr3 = TABLES[0] as u64;
    system.cr4 = CR4;
    system.efer = EFER;
    processor.set_sregs(&system)?;
    processor.set_regs(&kvm_bindings::kvm_regs {
        rip: CODE as u64,
        rsp: STACK,
        // The one bit that is always set.
        rflags: 2,
        ..Default::default()
    })
}
