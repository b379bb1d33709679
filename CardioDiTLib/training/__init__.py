"""Training: one loop, one stage a network.

==================================  ==================================================================
what                                where
==================================  ==================================================================
the loop, what it keeps             ``loop``, ``checkpoint``; ``distributed``, ``telling``
the generator, from pack to bundle  ``run``, ``export``; ``config``, ``start``, ``latents``, ``refiner_data``
a small network, pack to model      ``network_run``; ``network_tasks``, ``model_texts``
stages                              ``stage``; ``vqgan_stage``, ``dit_stage``, ``segmentation_stage``, ...
==================================  ==================================================================
"""
