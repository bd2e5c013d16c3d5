# SPDX-License-Identifier: GPL-2.0
# A LAVA job of {name, arch, url, kernel, machine, boot, sums, shard}.

def file($name): {url: "\(.url)/\(.arch)/\($name)", sha256sum: .sums[$name]};
def tarball($name): file($name) + {compression: "gz", format: "tar"};

.shard as $shard | ($shard.minutes // 20) as $minutes |
{
  job_name: "dma-guards \(.arch) \(.name)",
  device_type: "qemu",
  visibility: "public",
  timeouts: {
    job: {minutes: ($minutes + 15)},
    action: {minutes: 10},
    connection: {minutes: 5}
  },
  context: {
    arch: .arch,
    no_kvm: true,
    memory: ($shard.memory // 1024),
    extra_options: (.machine + ["-cpu", $shard.cpu // "max", "-no-reboot"] +
      (if $shard.icount
       then ["-smp", "1", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
       else ["-smp", "2"] end) +
      ($shard.qemu // []) +
      [$shard.devices // [] | .[] | "-device", .])
  },
  actions: [
    {deploy: {
      to: "tmpfs",
      os: "oe",
      images: {
        kernel: (file(.kernel) + {
          image_arg: "-kernel {kernel} -append \"\(.boot) panic=-1 panic_on_warn=1 oops=panic \($shard.append // "")\""
        }),
        initrd: (file("initramfs.cpio.gz") + {
          image_arg: "-initrd {initrd}",
          compression: "gz",
          format: "cpio.newc",
          overlays: {
            lava: true,
            kselftest: (tarball("kselftest.tar.gz") + {path: "/opt/kselftest"}),
            modules: (tarball("modules.tar.gz") + {path: "/"})
          }
        })
      }
    }},
    {boot: {
      method: "qemu",
      media: "tmpfs",
      prompts: ["/ # "]
    }},
    {test: {
      timeout: {minutes: $minutes},
      definitions: [{
        from: "inline",
        name: .name,
        path: "inline/\(.name).yaml",
        repository: {
          metadata: {
            format: "Lava-Test Test Definition 1.0",
            name: .name,
            description: "\(.name) of tools/testing/selftests/dma and the KUnit suites"
          },
          run: {
            steps: (["cd /opt/kselftest"] +
              ($shard.modules // "" | split(" ") | map("modprobe \(.)")) +
              ["lab-test \($shard.run | @sh)"])
          }
        }
      }]
    }}
  ]
}
