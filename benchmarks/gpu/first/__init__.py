"""Fifteen minutes on a GPU that answer our questions: `python -m benchmarks.gpu.first --stage N --out DIR`.

stages       which parts a stage has, how long each may take, and what each decides
parts        runs the parts of a stage, each in a process of its own, and keeps what they measured
page         a stage's results as Markdown
machine, networks, engines            stage 1: what is installed, how fast the device and our networks on it are
campaign, repeats                     stage 2: training, a signal, resuming, labelling through `mlseg`; the same bits again
beside                                stage 3: generators, moving average, validation, advice when memory runs out
operators, primitives                 stage 4: nvJPEG, every DALI operator and every operation alone, the parity tests
feed                                  stage 5: DALI's and the CPU's rates beside the network's
"""
