"""Learns from shards.

config       steps, model, loss, augmentation, labelling, evaluation
data         order of draws, pairs with joined labels, batches
augment      one policy: one physical transform for both views and labels, one colour draw
model        encoder, decoder, merge, heads
loss         weighted cross entropy + weighted Dice over the loss group (eq. 1, 3-7)
training     engine, loop, schedule, checkpoints, validation, tracking
labelling    the teacher labels the train split: shards -> sidecar shards
evaluation   pooled and per-slide figures of every step
report       one self-contained page
tracking     Weights & Biases, fed by a process of its own
privacy      pseudonyms, and texts without real names
style        generators that show patches in another scanner's style
whole_slide  one engine from a slide to maps, in strips
predict      a slide -> a heat map
"""
